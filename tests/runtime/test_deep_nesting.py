"""Tasks that wait for tasks that wait for tasks: as deep as there may be workers, and an error beyond."""

from __future__ import annotations

import resource

import pytest

import miniray
from helpers.nesting import down
from miniray import _miniray_core as core
from miniray.exceptions import RaySystemError


@pytest.mark.slow
def test_a_thousand_nested_tasks_on_one_cpu():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], min(4096, before[1])), before[1]))
    try:
        # More workers than tasks: on a machine short of memory some are ended, and what they called runs beside their next try.
        with miniray.init(num_cpus=1, worker_capacity=2000, object_store_memory=64 << 20, log_to_driver=False):
            assert miniray.get(miniray.remote(down).remote(1000)) == 1000
            assert core._validate() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_nesting_deeper_than_there_may_be_workers_is_an_error():
    with miniray.init(num_cpus=1, worker_capacity=6, object_store_memory=8 << 20, log_to_driver=False):
        assert miniray.get(miniray.remote(down).remote(4)) == 4
        with pytest.raises(RaySystemError, match=r"there are 6 workers, as many as there may be.*worker_capacity"):
            miniray.get(miniray.remote(down).remote(30))
        assert miniray.get(miniray.remote(down).remote(4)) == 4
        assert core._validate() is None


@pytest.mark.slow
def test_nesting_deeper_than_the_system_gives_workers_is_an_error(start_program):
    program = start_program(
        "import resource\n"
        "from miniray.exceptions import RaySystemError\n"
        "ray.init(num_cpus=1, object_store_memory=8 << 20)\n"
        "@ray.remote\n"
        "def down(depth): return 0 if depth == 0 else 1 + ray.get(down.remote(depth - 1))\n"
        "assert ray.get(down.remote(3)) == 3\n"
        "supervisor, = [pid for pid, kind, _, _ in core._processes() if kind == 2]\n"
        "resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (40, 40))\n"
        "try: ray.get(down.remote(100))\n"
        "except RaySystemError as error: print('RLIMIT_NOFILE' in str(error), 'no worker can be started' in str(error))\n"
        "print(ray.get(down.remote(3)), core._validate())\n"
        "ray.shutdown()\n"
    )
    code, out, err = program.finish()
    assert (code, out) == (0, "True True\n3 None\n"), err
    assert err.count("cannot start another worker: Too many open files") == 1
