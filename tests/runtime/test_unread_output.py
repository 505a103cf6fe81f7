"""What workers print when nobody reads it, when it has nowhere to go, and when it is no text."""

from __future__ import annotations

import os
import re
import signal
import sys

import pytest

from helpers.states import wait_until


@pytest.mark.parametrize(
    "closed",
    [lambda: os.close(1), lambda: (os.close(1), os.close(2)), lambda: os.closerange(0, 3), lambda: sys.stdout.close()],
    ids=["stdout", "both", "all three", "the stream"],
)
def test_task_that_closes_its_output_is_unaffected(ray, closed):
    def task():
        closed()
        written = sys.stdout.closed or print("into the void", flush=True) or True
        return written and "done"

    assert ray.get(ray.remote(max_calls=1)(task).remote()) == "done"
    assert ray.get([ray.remote(lambda i: i).remote(i) for i in range(20)]) == list(range(20))


def test_task_that_redirects_its_output_writes_there(ray, tmp_path):
    def task():
        kept = os.dup(1)
        file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        print("x" * 100_000)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(file)

    ray.get(ray.remote(task).remote())
    assert (tmp_path / "log").read_text()[-100_001:] == "x" * 100_000 + "\n"


# The program's own stdout is a pipe that the test does not read.
STUCK = """
import threading
from miniray.exceptions import WorkerCrashedError
ray.init(num_cpus=2, object_store_memory=8 << 20)
def flood(i):
    for line in range(3000): print(f"{i}: {line:06}", "x" * 100)
    return i
def crash():
    print("the last words", flush=True)
    os._exit(7)
ready()
print(*ray.get([ray.remote(flood).remote(i) for i in range(4)]), file=sys.stderr, flush=True)
try: ray.get(ray.remote(max_retries=0)(crash).remote())
except WorkerCrashedError as error: print(error.exit_code, error.output_tail is not None, file=sys.stderr, flush=True)
for pid in [pid for pid, kind, _, _ in core._processes() if kind == 3]: os.kill(pid, 9)
print(*ray.get([ray.remote(lambda i: i).remote(i) for i in range(9)]), file=sys.stderr, flush=True)
ray.get(ray.remote(lambda: print("heard again")).remote())
print("all done", file=sys.stderr, flush=True)
"""


def test_reader_that_stands_still_does_not_stop_tasks(start_program):
    program = start_program(STUCK, RAY_DEDUP_LOGS="0")
    program.wait_ready()
    lines = [program.process.stderr.readline() for _ in range(4)]
    assert lines == ["0 1 2 3\n", "7 True\n", "0 1 2 3 4 5 6 7 8\n", "all done\n"]
    code, out, err = program.finish()
    assert (code, err) == (0, "")
    assert out.count("x" * 100) > 100  # what was read before is there
    assert out.endswith("heard again\n")


def test_stopped_driver_does_not_stop_tasks(start_program, tmp_path):
    program = start_program(
        f"begin, done = {str(tmp_path / 'begin')!r}, {str(tmp_path / 'done')!r}\n"
        "import select\n"
        "ray.init(num_cpus=1, object_store_memory=8 << 20)\n"
        "def flood():\n"
        "    while not os.path.exists(begin): time.sleep(0.01)\n"
        "    for line in range(3000): print('x' * 100)\n"
        "    open(done, 'w').close()\n"
        "ref = ray.remote(flood).remote()\n"
        "ready()\n"
        "ray.get(ref)\n"
        "def speak():\n"
        "    select.select([], [1], [])  # until the driver has made room\n"
        "    print('heard again')\n"
        "ray.get(ray.remote(speak).remote())\n"
    )
    program.wait_ready()
    program.process.send_signal(signal.SIGSTOP)
    (tmp_path / "begin").touch()
    wait_until((tmp_path / "done").exists, "the task ends while nobody reads")
    program.process.send_signal(signal.SIGCONT)
    code, out, err = program.finish()
    assert (code, err) == (0, "")
    assert "x" * 100 in out
    assert re.search(r"miniray: \d+ bytes of output were dropped here: nobody read them\n", out)
    assert out.endswith("heard again\n")


def test_binary_noise_is_output_too(start_program):
    program = start_program(
        "import ctypes\n"
        "ray.init(num_cpus=1, object_store_memory=8 << 20)\n"
        "def noise():\n"
        "    sys.stdout.buffer.write(bytes(range(256)) * 2000 + b'\\n')\n"
        "    sys.stdout.flush()\n"
        "    os.write(1, b'\\xff\\xfe' * 3000 + b'\\n\\x01mini\\x00\\n')\n"
        "    ctypes.CDLL(None).write(1, b'plain C\\n', 8)\n"
        "    print('\\ud800 text')\n"
        "    return 5\n"
        "assert ray.get(ray.remote(noise).remote()) == 5\n"
        "ray.shutdown()\n"
        "print('well')\n",
        PYTHONIOENCODING="utf-8:backslashreplace",
    )
    out, err = program.process.communicate(timeout=60)
    assert (program.process.returncode, err) == (0, "")
    assert ") plain C\n" in out
    assert "\\ud800 text" in out
    assert out.count("\ufffd") > 6000
    assert out.endswith("well\n")
