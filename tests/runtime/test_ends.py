"""A program ends, in whatever way: no process, no segment is left."""

import os
import re
import signal

import pytest

from helpers.states import is_gone, segments, wait_until

# The store is small so that it has names in /dev/shm even where there is little of that.
SET_UP = """
ray.init(num_cpus=2, object_store_memory=16 << 20)
f = ray.remote(lambda i=0: i)
ray.get([f.remote() for _ in range(20)])
while core._statistics()["workers"] < 2:
    time.sleep(0.001)
"""


@pytest.mark.parametrize(
    "doing",
    [
        "sys.stdin.read()",
        "ray.get(ray.remote(lambda: time.sleep(600)).remote())",
        "refs = [f.remote(i) for i in range(10**9)]",
        "while True: ray.put(bytes(10**6))",
        "while True: ray.get(f.remote())",
        "ray.get([ray.remote(lambda: [ray.get(f.remote()) for _ in range(10**9)]).remote() for _ in range(2)])",
    ],
    ids=["idle", "in get", "submitting", "putting", "round trips", "nested"],
)
def test_killed_driver_leaves_nothing(start_program, doing):
    program = start_program(f"{SET_UP}ready()\n{doing}")
    program.wait_ready()
    program.process.kill()
    program.process.wait()
    program.expect_nothing_left()


def test_driver_killed_while_it_makes_the_session_leaves_nothing(start_program):
    program = start_program(
        "create = core._session_create\n"
        "def create_and_die(name, *rest):\n"
        "    create(name, *rest)\n"
        "    print(name, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "core._session_create = create_and_die\n"
        "ray.init(num_cpus=1, object_store_memory=16 << 20)\n"
    )
    code, out, _ = program.finish()
    assert code == -signal.SIGKILL
    program.session = out.strip()
    assert len(program.session) == 12
    program.expect_nothing_left()


def test_session_that_cannot_be_made_leaves_nothing(start_program):
    program = start_program(
        "def refuse(*_): raise OSError(28, 'No space left on device')\n"
        "core._session_create = refuse\n"
        "before = set(os.listdir('/proc/self/fd'))\n"
        "try: ray.init(num_cpus=1, object_store_memory=16 << 20)\n"
        "except OSError as error: print(error.errno)\n"
        "import threading\n"
        "print(set(os.listdir('/proc/self/fd')) - before, threading.active_count())\n"
        "print('children:', open(f'/proc/self/task/{os.getpid()}/children').read())\n"
    )
    assert program.finish() == (0, "28\nset() 1\nchildren: \n", "")


def test_driver_and_supervisor_killed_together_leave_nothing(start_program):
    program = start_program(
        f"{SET_UP}while len(core._processes()) < 4: time.sleep(0.005)\nready()\nsys.stdin.read()"  # both workers too
    )
    program.wait_ready()
    assert len(program.others) == 3
    program.process.send_signal(signal.SIGSTOP)  # it must not start another
    for pid in program.others[:1]:
        os.kill(pid, signal.SIGKILL)
    program.process.kill()
    program.process.wait()
    program.expect_nothing_left()


def test_everybody_killed_leaves_segments_that_the_next_program_removes(start_program):
    program = start_program(f"{SET_UP}ready()\nsys.stdin.read()")
    program.wait_ready()
    for pid in (program.process.pid, *program.others):
        os.kill(pid, signal.SIGSTOP)
    for pid in (program.process.pid, *program.others):
        os.kill(pid, signal.SIGKILL)
    program.process.wait()
    wait_until(lambda: all(map(is_gone, program.others)), "all are gone")
    other = start_program(f"{SET_UP}ready()\nsys.stdin.read()")
    other.wait_ready()
    assert not any(program.session in name for name in segments())
    assert sum(other.session in name for name in segments()) == 2
    assert other.finish()[0] == 0
    other.expect_nothing_left()


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("ray.shutdown()", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('the end')", 1),
        ("os._exit(4)", 4),
        ("os.kill(os.getpid(), 15)", 15),
        (
            "import threading; threading.Thread(target=ray.get, args=(ray.remote(lambda: time.sleep(600)).remote(),), daemon=True).start()",
            0,
        ),
    ],
    ids=["last line", "shutdown", "sys.exit", "exception", "os._exit", "SIGTERM", "thread in get"],
)
def test_program_that_ends_leaves_nothing(start_program, end, code):
    program = start_program(f"{SET_UP}ready()\nkept = ray.put(bytes(10**6)); view = ray.get(kept)\n{end}")
    program.wait_ready()
    status, _, err = program.finish()
    assert status == code
    assert ("the end" in err) == (code == 1)
    program.expect_nothing_left()


def test_two_programs_do_not_disturb_each_other(start_program):
    one, other = (
        start_program(f"{SET_UP}ready()\nsys.stdin.readline()\nprint(sum(ray.get([f.remote(i) for i in range(1000)])))")
        for _ in range(2)
    )
    one.wait_ready()
    other.wait_ready()
    assert one.session != other.session
    one.process.kill()
    one.process.wait()
    one.expect_nothing_left()
    assert other.process.communicate("\n", timeout=60) == ("499500\n", "")
    other.expect_nothing_left()


def test_issue_program_prints_its_result_and_the_workers_line(start_program):
    program = start_program(
        "ray.init(num_workers=1)\n"
        "@ray.remote\n"
        "def add(a, b):\n"
        "    print(f'computing {a} + {b}')\n"
        "    return a + b\n"
        "ref = add.remote(3, 5)\n"
        "print(f'Result: {ray.get(ref)}')\n"
        "ray.shutdown()\n"
    )
    code, out, err = program.finish()
    assert (code, err) == (0, "")
    # print() writes a line and its end in two pieces: the worker's line may come between them.
    assert "Result: 8" in out
    assert re.search(r"\(add pid=\d+\) computing 3 \+ 5\n", out)
