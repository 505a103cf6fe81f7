"""References beyond what Ray defines alike in every case."""

import contextlib
import gc
import os
import weakref

import cloudpickle
import pytest

from helpers.states import wait_until
from miniray import _miniray_core as core
from miniray import diagnostics
from miniray.exceptions import RayError


def test_random_ref_is_unknown(ray):
    with pytest.raises(ValueError, match="owner is unknown"):
        ray.get(ray.ObjectRef.from_random(), timeout=30)


def test_ref_pickled_by_hand_pins_its_object(ray):
    ref = ray.put(bytes(300_000))
    data = cloudpickle.dumps({"ref": ref})
    del ref
    ray.get([ray.put(bytes(300_000)) for _ in range(20)])
    assert len(ray.get(cloudpickle.loads(data)["ref"])) == 300_000


def test_object_goes_with_its_last_ref_wherever_that_is(ray):
    identity = ray.remote(lambda value: value)
    ray.get(identity.remote(1))
    before = core._statistics()
    inner = ray.put(bytes(100_000))
    outer = ray.put([inner, {"again": inner}])
    passed_on = identity.remote([outer])
    ray.get(passed_on)
    del inner, outer
    gc.collect()
    assert len(ray.get(ray.get(ray.get(passed_on)[0])[0])) == 100_000
    del passed_on
    gc.collect()
    wait_until(lambda: core._statistics()["objects"] == before["objects"], "the objects go")
    assert core._statistics()["used_bytes"] == before["used_bytes"]


def test_small_object_takes_what_it_keeps_with_it_though_nothing_else_happens(ray):
    before = diagnostics.statistics().used_bytes  # only looks; most other calls would drop what is due
    outer = ray.put([ray.put(bytes(1_000_000))])
    assert diagnostics.statistics().used_bytes >= before + 1_000_000
    del outer
    assert diagnostics.statistics().used_bytes == before


def test_object_that_holds_ten_thousand_refs(ray):
    before = core._statistics()["objects"]
    outer = ray.put([ray.put(i) for i in range(10_000)])
    gc.collect()
    assert core._statistics()["objects"] == before + 10_001
    assert core._validate() is None
    assert ray.get(ray.get(outer)) == list(range(10_000))
    del outer
    wait_until(lambda: core._statistics()["objects"] == before, "the objects go")


@pytest.mark.parametrize("kind", ["task", "actor"])
def test_caught_error_keeps_nothing_of_the_frames_it_came_through(ray, kind):
    class Marker:
        pass

    @ray.remote(num_cpus=0)
    class Actor:
        def die(self):
            os._exit(1)

    def get_and_catch():
        marker = Marker()
        seen.append(weakref.ref(marker))
        ref = Actor.remote().die.remote() if kind == "actor" else ray.remote(lambda: 1 / 0).remote()
        with contextlib.suppress(RayError, ZeroDivisionError):
            ray.get(ref)

    seen = []
    gc.collect()
    gc.disable()
    try:
        get_and_catch()
        assert seen[0]() is None
    finally:
        gc.enable()
