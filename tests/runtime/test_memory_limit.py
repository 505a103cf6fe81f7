"""A program in a control group with little memory: the store fits below the limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.small_machines import memory_group

pytestmark = pytest.mark.needs_root

LIMIT = 400 << 20


@pytest.fixture
def group():
    with memory_group(LIMIT) as prefix:
        yield prefix


def test_default_store_fits_below_the_limit(group, start_program):
    program = start_program(
        "ray.init(num_cpus=2)\n"
        "print(runtime.current().config.store.size_bytes)\n"
        "refs = [ray.put(bytes(30_000_000)) for _ in range(3)]\n"
        "print(ray.get([ray.remote(lambda x: len(x)).remote(ref) for ref in refs]))\n"
        "ray.shutdown()\n",
        prefix=group,
    )
    assert program.finish() == (0, f"{LIMIT * 3 // 10}\n{[30_000_000] * 3}\n", "")


def test_larger_wish_is_capped_with_a_warning(group, start_program):
    program = start_program(
        "import logging\n"
        "logging.basicConfig(format='%(name)s %(levelname)s %(message)s', level=logging.DEBUG)\n"
        "for _ in range(2):\n"
        "    with ray.init(num_cpus=1, object_store_memory=1_000_000_000):\n"
        "        print(runtime.current().config.store.size_bytes, ray.get(ray.remote(lambda x: len(x)).remote(bytes(10**7))))\n"
        "    print(runtime.explain_store())\n",
        prefix=group,
        warnings=True,
    )
    code, out, err = program.finish()
    assert (code, out) == (0, f"{LIMIT * 8 // 10} 10000000\nNone\n" * 2), err
    warning = "miniray WARNING object_store_memory=1000000000 (953.7 MiB) is more than the 400.0 MiB of memory"
    assert err.count(warning) == 2
    assert err.count("miniray DEBUG The object store has 320.0 MiB: 80% of the 400.0 MiB") == 2


# The arrays are small beside the 32 MiB that the store leaves free: what the processes take for themselves afterwards is theirs to bound.
MORE_THAN_THE_GROUP = """
import numpy as np
def array(i):
    return np.random.default_rng(i).integers(0, 256, 2_000_000, np.uint8)
ray.init(num_cpus=2, object_store_memory=600 << 20, object_spilling_directory=os.environ["SPILL_FOLDER"])
ray.get([ray.remote(lambda: time.sleep(0.1)).remote() for _ in range(2)])
first = sorted(pid for pid, *_ in core._processes())
total = ray.remote(lambda value: int(value.sum(dtype=np.int64)))
refs, sums = [], []
for i in range(500):
    refs.append(ray.put(array(i)) if i % 3 else ray.remote(array).remote(i))
    if i % 3 == 2: sums += ray.get([total.remote(ref) for ref in refs[-3:]])
print(core._statistics()["spilled_bytes"] > 500_000_000, core._statistics()["used_bytes"] < 300 << 20)
print(all((ray.get(ref) == array(i)).all() for i, ref in enumerate(refs)))
print(sums == [int(array(i).sum(dtype=np.int64)) for i in range(498)])
print(sorted(pid for pid, *_ in core._processes()) == first, core._validate())
ray.shutdown()
"""


@pytest.mark.slow
def test_store_larger_than_the_group_spills_instead_of_being_killed(start_program, tmp_path):
    pytest.importorskip("numpy")
    with memory_group(300 << 20) as prefix:
        folder = prefix[-1]
        # The monitor would end tasks before the kernel does; what is tested is that the store leaves room for them.
        environment = {"SPILL_FOLDER": str(tmp_path), "RAY_memory_monitor_refresh_ms": "0"}
        program = start_program(MORE_THAN_THE_GROUP, prefix=prefix, **environment)
        assert program.finish() == (0, "True True\nTrue\nTrue\nTrue None\n", "")
        assert kills_in(folder) == 0


def kills_in(folder):
    for name in ("memory.oom_control", "memory.events"):
        file = Path(folder, name)
        if file.exists():
            return int(dict(line.split() for line in file.read_text().splitlines())["oom_kill"])
    return None
