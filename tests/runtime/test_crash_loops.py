"""Workers or supervisors that cannot be started: calls end with an error that says why, and work again once it is mended."""

from __future__ import annotations

import pytest

# In every Python process of the program: workers raise at their start while the file `broken` exists, supervisors end by
# `end_supervisor` while `no_supervisor` exists.
SITE = """
import os, sys
folder = os.path.dirname(__file__)
if os.environ.get("MINIRAY_TEST_BREAKS"):
    if "miniray._runtime.supervisor" in " ".join(sys.orig_argv):
        if os.path.exists(folder + "/no_supervisor"):
            sys.stderr.write("no supervisor today\\n")
            {end_supervisor}
        open(folder + "/supervisors", "a").write("x")
        from miniray._runtime import output
        redirect = output.redirect_worker_streams
        def broken(*fds):
            redirect(*fds)
            if os.path.exists(folder + "/broken"):
                open(folder + "/attempts", "a").write("x")
                raise RuntimeError("the licence server is away")
        output.redirect_worker_streams = broken
"""

PROGRAM = """
import pathlib
from miniray.exceptions import RaySystemError
folder = pathlib.Path(os.environ["MINIRAY_TEST_BREAKS"])
f = ray.remote(lambda *values: os.getpid())
def error_of(ref):
    try: return f"value {ray.get(ref)}"
    except RaySystemError as error: return str(error)
def count(name): return len((folder / name).read_text())
def supervisor(): return next(pid for pid, kind, _, _ in core._processes() if kind == 2)
"""


@pytest.fixture
def start(start_program, tmp_path):
    def run(source, end_supervisor="os._exit(3)"):
        (tmp_path / "sitecustomize.py").write_text(SITE.format(end_supervisor=end_supervisor))
        return start_program(PROGRAM + source, MINIRAY_TEST_BREAKS=str(tmp_path), PYTHONPATH=str(tmp_path))

    return run


def test_pending_and_new_calls_fail_with_the_workers_last_words(start):
    program = start(
        "(folder / 'broken').touch()\n"
        "ray.init(num_cpus=2)\n"
        "first = f.remote()\n"
        "second = f.remote(first)\n"  # waits for its argument
        "print(error_of(first)); print('--')\n"
        "print(error_of(second)); print('--')\n"
        "print(error_of(f.remote())); print('--')\n"
        "before = count('attempts')\n"
        "for _ in range(5): assert 'licence' in error_of(f.remote())\n"
        "assert count('attempts') - before <= 5, 'at most one try for each call'\n"
        "assert core._validate() is None\n"
        "(folder / 'broken').unlink()\n"
        "print(ray.get(f.remote()) > 0, len({ray.get(f.remote()) for _ in range(9)}) > 0)\n"
        "ray.shutdown()\n"
    )
    code, out, err = program.finish()
    assert code == 0, err
    first, second, third, mended = out.split("--\n")
    for text in (first, second, third):
        assert "no worker can be started: 3 workers in a row ended before they could take a task" in text
        assert "exit status 1" in text
        assert "RuntimeError: the licence server is away" in text
    assert mended == "True True\n"
    assert err.count("another is started only for a call that waits") == 1


def test_remaining_workers_serve(start):
    program = start(
        "ray.init(num_cpus=2)\n"
        "hold = ray.remote(lambda: (open(folder / 'held', 'w').write(str(os.getpid())), time.sleep(600)))\n"
        "end = ray.remote(max_retries=0)(lambda: os._exit(1))\n"
        "while core._statistics()['workers'] < 2: time.sleep(0.001)\n"
        "(folder / 'broken').touch()\n"
        "for _ in range(1): ray.wait([end.remote()])\n"
        "print({ray.get(f.remote()) for _ in range(9)} != set())\n"
        "ray.shutdown()\n"
    )
    code, out, err = program.finish()
    assert (code, out) == (0, "True\n"), err


@pytest.mark.parametrize("end", ["os._exit(3)", "os.abort()", "os._exit(0)"])
def test_calls_fail_when_no_supervisor_can_be_started(start, end):
    program = start(
        "(folder / 'no_supervisor').touch()\n"
        "ray.init(num_cpus=1)\n"
        "print(error_of(f.remote())); print('--')\n"
        "print(error_of(f.remote())); print('--')\n"
        "(folder / 'no_supervisor').unlink()\n"
        "print(error_of(f.remote()).startswith('value'))\n"
        "assert core._validate() is None\n"
        "ray.shutdown()\n",
        end,
    )
    code, out, err = program.finish()
    assert code == 0, err
    first, second, mended = out.split("--\n")
    for text in (first, second):
        assert "no supervisor can be started" in text
        assert "no supervisor today" in text
        assert {"os._exit(3)": "exit status 3", "os.abort()": "SIGABRT", "os._exit(0)": "exit status 0"}[end] in text
    assert mended == "True\n"
    assert err.count("Call miniray.shutdown() and miniray.init()") == 1


def test_worker_that_dies_without_a_supervisor_ends_the_calls(start):
    program = start(
        "ray.init(num_cpus=1)\n"
        "first = ray.get(f.remote())\n"
        "(folder / 'no_supervisor').touch()\n"
        "task = ray.remote(lambda: (open(folder / 'begun', 'w').close(), time.sleep(600)))\n"
        "ref = task.remote()\n"
        "while not (folder / 'begun').exists(): time.sleep(0.001)\n"
        "os.kill(supervisor(), 9)\n"
        "waiting = f.remote()\n"
        "os.kill(first, 9)\n"
        "print(error_of(ref)); print('--')\n"
        "print(error_of(waiting))\n"
        "assert core._validate() is None\n"
        "ray.shutdown()\n"
    )
    code, out, err = program.finish()
    assert code == 0, err
    assert out.count("no supervisor can be started") == 2


def test_removed_segments_are_named(start):
    program = start(
        "ray.init(num_cpus=1, object_store_memory=8 << 20)\n"
        "worker = ray.get(f.remote())\n"
        "ready()\n"
        "for kind in ('scheduler', 'objectstore'): os.unlink(f'/dev/shm/miniray_{runtime.current().name}_{kind}')\n"
        "for pid in (supervisor(), worker): os.kill(pid, 9)\n"
        "print(error_of(f.remote()))\n"
        "ray.shutdown()\n"
    )
    program.wait_ready()
    code, out, err = program.finish()
    assert code == 0, err
    assert "was removed while it was in use" in out
    assert "the supervisor cannot start: there is no miniray_" in out
    program.expect_nothing_left()


def test_idle_workers_that_somebody_kills_are_no_crash_loop(start):
    program = start(
        "ray.init(num_cpus=1)\n"
        "def workers(): return [pid for pid, kind, _, _ in core._processes() if kind == 3]\n"
        "for _ in range(25):\n"
        "    while not workers(): time.sleep(0.001)\n"
        "    (pid,) = workers()\n"
        "    os.kill(pid, 9)\n"
        "    while pid in workers(): time.sleep(0.001)\n"
        "print(ray.get(f.remote()) > 0)\n"
        "ray.shutdown()\n"
    )
    assert program.finish() == (0, "True\n", "")


# Every other worker ends before it takes a row, and only when the one before has taken one.
EVERY_OTHER = """
import os, sys, time
if "miniray._runtime.supervisor" in " ".join(sys.orig_argv):
    folder = os.path.dirname(__file__)
    from miniray import _miniray_core as core
    fork, adopt = os.fork, core._session_adopt_after_fork
    number = 0
    def counted():
        global number
        number += 1
        return fork()
    def checked():
        if number % 2 == 0:
            while not os.path.exists(f"{folder}/{number - 1}"): time.sleep(0.001)
            os.kill(os.getpid(), 9)
        adopt()
        open(f"{folder}/{number}", "w").close()
    os.fork, core._session_adopt_after_fork = counted, checked
"""


def test_starts_that_fail_between_ones_that_succeed_are_no_crash_loop(start_program, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(EVERY_OTHER)
    program = start_program(
        "ray.init(num_cpus=6)\n"
        "while sum(kind == 3 for _, kind, _, _ in core._processes()) < 6: time.sleep(0.001)\n"
        "ray.shutdown()\n",
        PYTHONPATH=str(tmp_path),
    )
    assert program.finish() == (0, "", "")
