"""Ctrl-C at any time: KeyboardInterrupt at once, and everything goes on."""

import signal

import pytest

from helpers.states import is_gone

SET_UP = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
ray.init(num_cpus=2)
f = ray.remote(lambda i=0: i)
ray.get([f.remote() for _ in range(20)])
slow = ray.remote(lambda: time.sleep(600))
"""


@pytest.mark.parametrize(
    "doing",
    [
        "ray.get(slow.remote())",
        "ray.get([slow.remote(), f.remote()])",
        "ray.wait([slow.remote()])",
        "ray.wait([slow.remote()], timeout=600)",
        "while True: ray.get(f.remote())",
        "while True: f.remote()",
        "while True: ray.put(bytes(10**7))",
        "while True: ray.wait([f.remote() for _ in range(100)], num_returns=100)",
    ],
)
@pytest.mark.parametrize("to_all", [False, True], ids=["driver", "group"])
def test_interrupt_leaves_everything_whole(start_program, doing, to_all):
    program = start_program(
        f"{SET_UP}try:\n    ready()\n    {doing}\nexcept KeyboardInterrupt:\n    print('interrupted', flush=True)\n"
        "ray.shutdown()\nray.init(num_cpus=2)\n"
        "print(sum(ray.get([f.remote(i) for i in range(100)])), core._validate())\n"
    )
    program.wait_ready()
    if to_all:
        import os

        os.killpg(program.process.pid, signal.SIGINT)
    else:
        program.process.send_signal(signal.SIGINT)
    assert program.finish() == (0, "interrupted\n4950 None\n", "")


def test_session_goes_on_after_an_interrupted_get(start_program):
    program = start_program(
        f"{SET_UP}gate = ray.remote(lambda: time.sleep(0.3) or 'late')\nref = gate.remote()\n"
        "try:\n    ready()\n    ray.get(slow.remote())\nexcept KeyboardInterrupt:\n    print(ray.get(ref), core._validate())\n"
    )
    program.wait_ready()
    program.process.send_signal(signal.SIGINT)
    assert program.finish() == (0, "late None\n", "")


def test_interrupted_program_without_a_handler_ends_and_leaves_nothing(start_program):
    program = start_program(f"{SET_UP}ready()\nray.get(slow.remote())\n")
    program.wait_ready()
    program.process.send_signal(signal.SIGINT)
    code, _, err = program.finish()
    assert code in (-signal.SIGINT, 1, 130)
    assert "KeyboardInterrupt" in err
    program.expect_nothing_left()
    assert all(map(is_gone, program.others))
