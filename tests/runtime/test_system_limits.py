"""Limits of the system that are too low for a session: an error that names the limit, and nothing is left."""

from __future__ import annotations

import re

import pytest

from helpers.small_machines import in_small_shared_memory

# `attempt(...)` runs init, prints the error and what is left of it.
ATTEMPT = """
import resource
from helpers.states import children, sessions_of_ours
def descriptors():  # without /proc/self/fd, which who has changed his user may not read
    found = set()
    for fd in range(300):
        try: found.add((fd, os.fstat(fd).st_ino))
        except OSError: pass
    return found
def attempt(start=ray.init, **arguments):
    before = descriptors()
    try:
        start(**arguments)
        print("it started")
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        ray.shutdown()
    print(children() or "no child", sessions_of_ours() or "no segment", descriptors() - before or "no descriptor")
"""
NOTHING = "no child no segment no descriptor"


@pytest.fixture
def attempt(start_program, pytestconfig):
    def run(source, prefix=()):
        program = start_program(
            ATTEMPT + source, prefix=prefix, warnings=bool(prefix), PYTHONPATH=str(pytestconfig.rootpath / "tests")
        )
        code, out, err = program.finish()
        assert code == 0, err
        return out.splitlines(), err

    return run


def test_few_open_files_are_enough_for_few_workers(attempt):
    lines, err = attempt(
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "with ray.init(num_cpus=2): print(sum(ray.get([ray.remote(lambda i: i).remote(i) for i in range(100)])))\n"
    )
    assert (lines, err) == (["4950"], "")


def test_too_few_open_files_for_the_workers_are_told_before_anything_starts(attempt):
    (error, left), err = attempt("resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\nattempt(num_cpus=40)\n")
    assert re.fullmatch(
        r"OSError: \[Errno 24\] 40 workers need about \d+ open files .*RLIMIT_NOFILE\).*ulimit -n 1024.*", error
    )
    assert (left, err) == (NOTHING, "")


@pytest.mark.parametrize("spare", range(12))
def test_descriptors_that_run_out_while_it_starts_leave_nothing(attempt, spare):
    lines, err = attempt(
        "from miniray._runtime import limits\n"
        "limits.check = lambda pool_size: None\n"
        "ray.put(0); ray.shutdown()\n"  # what stays open for ever is open now
        "count = len(os.listdir('/proc/self/fd')) - 1\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (count + {spare}, 4096))\n"
        "def start():\n"
        "    try:\n"
        "        ray.init(num_cpus=1, log_to_driver=False)\n"
        "        ray.shutdown()\n"
        "    finally:\n"
        "        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n"
        "attempt(start)\n"
    )
    assert lines[-1] == NOTHING, (lines, err)
    if "it started" not in lines:
        assert "RLIMIT_NOFILE" in lines[0], lines
    assert "Traceback" not in err


def test_too_little_address_space_is_told(attempt):
    (error, left), err = attempt(
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\nattempt(num_cpus=2, object_store_memory=3 << 30)\n"
    )
    assert re.fullmatch(
        r"OSError: \[Errno 12\] no address space to map miniray_\w+_scheduler: this process may have 4294967296 bytes of it "
        r"\(RLIMIT_AS, ulimit -v\)\. Raise that limit, or ask for a smaller store: init\(object_store_memory=...\).*",
        error,
    )
    assert (left, err) == (NOTHING, "")


@pytest.mark.needs_root  # to become another user, whom the limit binds
@pytest.mark.parametrize("checked", [True, False], ids=["before", "at the fork"])
def test_too_few_processes_are_told(attempt, checked):
    lines, err = attempt(
        "from miniray._runtime import limits\n"
        + ("" if checked else "limits.check = lambda pool_size: None\n")
        + "ray.init(num_cpus=1); ray.shutdown()\n"  # all modules are imported: another user may not be able to read them
        "os.setresuid(65534, 65534, 65534)\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))\n"
        "attempt(num_cpus=2)\n"
    )
    assert lines[-1] == NOTHING, (lines, err)
    assert lines[0].startswith("BlockingIOError: [Errno 11] ")
    assert "RLIMIT_NPROC" in lines[0]
    assert "ulimit -u" in lines[0]
    assert err == ""


@pytest.mark.needs_root
def test_full_shared_memory_does_not_stop_a_session(attempt):
    (result, left), err = attempt(
        "with ray.init(num_cpus=1): print(len(ray.get(ray.remote(lambda: bytes(10**7)).remote())))\n"
        "print(os.listdir('/dev/shm'))\n",
        prefix=in_small_shared_memory("64k"),
    )
    assert (result, left) == ("10000000", "[]")
    assert err.count("does not fit into /dev/shm, because 0.1 MiB are free there") == 1


@pytest.mark.needs_root
def test_shared_memory_that_fills_meanwhile_is_told(attempt):
    (*error, left, names), err = attempt(
        "from miniray._runtime import machine\n"
        "machine.plan_store = lambda wanted: machine.StorePlan(1 << 30, False, '')\n"
        "attempt(num_cpus=1)\n"
        "print(os.listdir('/dev/shm'))\n",
        prefix=in_small_shared_memory("64k"),
    )
    assert error[0].startswith("ObjectStoreFullError: there is no room to create miniray_")
    assert error[0].endswith("or give it more memory (in a container: --shm-size).")
    assert (left, names, err) == (NOTHING, "[]", "")


def test_worker_that_the_system_refuses_is_told_and_started_later(start_program):
    program = start_program(
        "import resource\n"
        "ray.init(num_cpus=1)\n"
        "f = ray.remote(lambda: os.getpid())\n"
        "first = ray.get(f.remote())\n"
        "supervisor, = [pid for pid, kind, _, _ in core._processes() if kind == 2]\n"
        "soft, hard = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)\n"
        "resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (8, hard))\n"
        "os.kill(first, 9)\n"
        "sys.stdin.readline()\n"
        "resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (soft, hard))\n"
        "print(ray.get(f.remote()) != first)\n"
        "ray.shutdown()\n"
    )
    told = program.process.stderr.readline()
    assert told.startswith(
        "miniray: cannot start another worker: Too many open files: this process has all the 8 open files"
    )
    assert "(RLIMIT_NOFILE)" in told
    assert told.endswith("The session goes on with 0 workers and tries again every second.\n")
    assert program.process.communicate("\n", timeout=60) == ("True\n", "")
