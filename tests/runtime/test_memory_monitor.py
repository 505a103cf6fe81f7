"""Memory runs short: the newest call is ended and tried again by a budget of its own; what the kernel kills is told."""

from __future__ import annotations

import pytest

from helpers.small_machines import memory_group

HEAD = """
import pathlib, tempfile
from miniray.exceptions import OutOfMemoryError, WorkerCrashedError
folder = pathlib.Path(tempfile.mkdtemp())
def begun(name): (folder / name).open("a").write("x")
def count(name): return len((folder / name).read_text()) if (folder / name).exists() else 0
def error_of(ref):
    try: return f"value {ray.get(ref)}"
    except (OutOfMemoryError, WorkerCrashedError) as error: return f"{type(error).__name__} {error}"
def hold(name, gate, megabytes=0):
    block = bytearray(megabytes << 20)
    for i in range(0, len(block), 4096): block[i] = 1
    begun(name)
    while not (folder / gate).exists(): time.sleep(0.002)
    return name
"""
NEVER, ALWAYS = "1", "0"  # thresholds


def test_only_task_is_ended_at_once_with_the_table(start_program):
    program = start_program(
        HEAD + "ray.init(num_cpus=2)\n"
        "print(error_of(ray.remote(hold).options(name='hungry').remote('one', 'never')), count('one'))\n"
        "print(error_of(ray.remote(max_retries=0)(hold).remote('two', 'never')))\n"
        "assert core._validate() is None\n"
        "ray.shutdown()\n",
        RAY_memory_usage_threshold=ALWAYS, RAY_memory_monitor_refresh_ms="300",
    )  # fmt: skip
    code, out, err = program.finish()
    assert code == 0, err
    assert out.count("OutOfMemoryError The task 'h") == 2
    assert "was ended because memory ran short, after 1 attempt." in out
    assert "more than the threshold of 0.0%" in out
    assert "the newest and the only one" in out
    assert "<- ended" in out


def test_newest_is_ended_and_tried_again_until_its_budget_is_spent(start_program):
    program = start_program(
        HEAD + "ray.init(num_cpus=2)\n"
        "while core._statistics()['idle_workers'] < 2: time.sleep(0.002)\n"
        "old = ray.remote(max_retries=0)(hold).remote('old', 'gate')\n"
        "new = ray.remote(max_retries=1)(hold).remote('new', 'gate')\n"
        "print(error_of(new))\n"
        "print(count('new'), count('old'))\n"
        "(folder / 'gate').touch()\n"
        "print(error_of(old))\n"
        "ray.shutdown()\n",
        RAY_memory_usage_threshold=ALWAYS, RAY_memory_monitor_refresh_ms="500", RAY_task_oom_retries="2",
    )  # fmt: skip
    code, out, err = program.finish()
    assert code == 0, err
    assert "OutOfMemoryError The task 'hold'" in out
    assert "after 3 attempts" in out  # max_retries=1 is another budget
    assert out.count("<- ended") >= 1


@pytest.mark.parametrize(("threshold", "refresh"), [(NEVER, "1"), (ALWAYS, "0")])
def test_nothing_is_ended_below_the_threshold_or_without_a_monitor(start_program, threshold, refresh):
    program = start_program(
        HEAD + "ray.init(num_cpus=2)\n"
        "refs = [ray.remote(max_retries=0)(hold).remote(str(i), 'gate') for i in range(2)]\n"
        "while not count('0') or not count('1'): time.sleep(0.002)\n"
        "time.sleep(0.1)\n"  # room for looks
        "(folder / 'gate').touch()\n"
        "print(ray.get(refs))\n"
        "ray.shutdown()\n",
        RAY_memory_usage_threshold=threshold, RAY_memory_monitor_refresh_ms=refresh,
    )  # fmt: skip
    assert program.finish() == (0, "['0', '1']\n", "")


def test_idle_supervisor_never_wakes_up(start_program):
    program = start_program(
        HEAD + "ray.init(num_cpus=1)\n"
        "ray.get(ray.remote(lambda: 1).remote())\n"
        "supervisor = next(pid for pid, kind, _, _ in core._processes() if kind == 2)\n"
        "def switches(): return [line for line in open(f'/proc/{supervisor}/status') if 'ctxt_switches' in line]\n"
        "seen = None\n"
        "while seen != (seen := switches()): time.sleep(1.5)\n"  # what follows a task comes within a second
        "print('quiet')\n"
        "ray.shutdown()\n",
        RAY_memory_monitor_refresh_ms="20",
    )  # fmt: skip
    assert program.finish() == (0, "quiet\n", "")


@pytest.mark.needs_root
def test_small_control_group_ends_the_greedy_task_before_the_kernel_does(start_program):
    with memory_group(400 << 20) as prefix:
        program = start_program(
            HEAD + "ray.init(num_cpus=2, object_store_memory=20 << 20)\n"
            "def grow(name):\n"
            "    blocks = []\n"
            "    for _ in range(1000):\n"
            "        blocks.append(b'x' * (2 << 20))\n"
            "        time.sleep(0.01)\n"
            "old = ray.remote(max_retries=0)(hold).remote('old', 'gate', 50)\n"
            "while not count('old'): time.sleep(0.002)\n"
            "print(error_of(ray.remote(max_retries=0)(grow).remote('greedy')))\n"
            "(folder / 'gate').touch()\n"
            "print(error_of(old))\n"
            "ray.shutdown()\n",
            prefix=prefix, RAY_memory_usage_threshold="0.7", RAY_memory_monitor_refresh_ms="20",
        )  # fmt: skip
        code, out, err = program.finish()
        assert code == 0, err
        assert "OutOfMemoryError The task 'grow'" in out
        assert "of the 400 MiB of memory of control group" in out
        assert "value old" in out


@pytest.mark.needs_root
def test_kill_by_the_kernel_is_told_apart_from_others(start_program):
    with memory_group(300 << 20) as prefix:
        program = start_program(
            HEAD + "ray.init(num_cpus=1, object_store_memory=20 << 20)\n"
            "print(error_of(ray.remote(max_retries=0)(lambda: len(b'x' * (600 << 20))).remote()))\n"
            "print(error_of(ray.remote(max_retries=0)(lambda: os.kill(os.getpid(), 9)).remote()))\n"
            "ray.shutdown()\n",
            prefix=prefix, RAY_memory_monitor_refresh_ms="0",
        )  # fmt: skip
        code, out, err = program.finish()
        assert code == 0, err
        by_kernel, by_another = out.split("WorkerCrashedError")[1:]
        assert "killed by SIGKILL" in by_kernel
        assert "Reason: the kernel killed it for memory" in by_kernel
        assert "killed by SIGKILL" in by_another
        assert "Reason" not in by_another
