"""A program in a control group with little memory: the store fits below the limit."""

from __future__ import annotations

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
