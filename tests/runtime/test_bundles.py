"""Placement groups and GPUs in miniray's own terms: nothing is left, nobody starves who fits, and no death of anybody hangs."""

import gc
import logging
import os
import signal
from pathlib import Path

import pytest

from helpers.actors import Plain
from helpers.states import wait_until
from miniray import _miniray_core as core
from miniray.exceptions import (
    ActorDiedError,
    ActorUnschedulableError,
    TaskPlacementGroupRemoved,
    WorkerCrashedError,
)
from miniray.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from miniray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

COUNTED = ("actors", "tasks", "objects", "used_bytes")


def counts():
    gc.collect()
    core._flush_releases()
    return {name: core._statistics()[name] for name in COUNTED}


def inside(group, *rest):
    return {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, *rest)}


def number_of_process():
    return os.getpid()


def wait_for_file(path):
    while not os.path.exists(path):
        pass


def tell_and_wait(path):
    """Write the number of the process, and wait for a file beside it."""
    Path(path).write_text(str(os.getpid()))
    wait_for_file(f"{path}.go")
    return "done"


def meet(path, number):
    """Wait until the other one is there."""
    Path(f"{path}.{number}").touch()
    wait_for_file(f"{path}.{1 - number}")


def everything_is_free(ray):
    return ray.available_resources().get("CPU") == 2.0


def test_groups_that_come_and_go_leave_nothing(ray):
    task = ray.remote(number_of_process)

    def use(number):
        group = placement_group([{"CPU": 1}, {"CPU": 0.5, "memory": 1}], name=f"group {number}")
        refs = [task.options(num_cpus=0.5, **inside(group, *rest)).remote() for rest in ((), (0,), (1,))]
        ray.get([group.ready(), *refs])
        remove_placement_group(group)

    use(0)
    wait_until(lambda: everything_is_free(ray), "the group goes")
    before = counts()
    for number in range(400):  # more than there are shapes
        use(number)
    wait_until(lambda: everything_is_free(ray), "the groups go")
    wait_until(lambda: counts() == before, lambda: f"{counts()} comes back to {before}")
    assert core._validate() is None
    assert placement_group_table() == {}


def test_what_a_killed_worker_held_of_a_bundle_goes_back_to_it(ray, tmp_path):
    group = placement_group([{"CPU": 1}])
    task = ray.remote(tell_and_wait)
    ref = task.options(max_retries=1, **inside(group)).remote(str(tmp_path / "runs"))
    wait_until(lambda: (tmp_path / "runs").exists() and (tmp_path / "runs").read_text(), "the task runs")
    os.kill(int((tmp_path / "runs").read_text()), signal.SIGKILL)
    (tmp_path / "runs.go").touch()
    assert ray.get(ref) == "done"
    actor = ray.remote(Plain).options(num_cpus=1, **inside(group)).remote()
    os.kill(ray.get(actor.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)
    assert ray.get(ray.remote(number_of_process).options(**inside(group)).remote())
    assert core._validate() is None
    remove_placement_group(group)


def test_tasks_of_a_group_get_workers_of_their_own(ray, tmp_path):
    group = placement_group([{"CPU": 1}, {"CPU": 1}])
    task = ray.remote(meet)
    ray.get([task.options(**inside(group)).remote(str(tmp_path / "here"), number) for number in range(2)])
    remove_placement_group(group)


def test_what_is_made_for_a_group_that_is_removed_fails_at_once(ray):
    group = placement_group([{"CPU": 1}])
    ray.get(group.ready())
    function, actor_class = ray.remote(number_of_process), ray.remote(Plain)
    task, several = function.options(**inside(group)), function.options(num_returns=0, **inside(group))
    made = actor_class.options(**inside(group))
    remove_placement_group(group)
    for _ in range(2):
        with pytest.raises(TaskPlacementGroupRemoved):
            ray.get(task.remote())
        assert several.remote() is None
        with pytest.raises(ActorUnschedulableError, match="placement group was removed"):
            ray.get(made.remote().__ray_ready__.remote())
    assert core._validate() is None


def test_what_waits_for_a_group_fails_when_it_is_removed(ray, tmp_path):
    late = ray.remote(wait_for_file).options(num_cpus=0).remote(str(tmp_path / "go"))
    group = placement_group([{"CPU": 3}])
    task = ray.remote(lambda *_: 1)
    refs = [
        task.options(**inside(group)).remote(),
        task.options(**inside(group)).remote(late),
        *task.options(num_returns=2, **inside(group)).remote(),
    ]
    after = ray.remote(lambda _: 1).remote(group.ready())
    actors = [ray.remote(Plain).options(num_cpus=1, **inside(group)).remote() for _ in range(2)]
    calls = [actor.__ray_ready__.remote() for actor in actors]
    remove_placement_group(group)
    for ref in (*refs, after):
        with pytest.raises(TaskPlacementGroupRemoved):
            ray.get(ref)
    for call in calls:
        with pytest.raises(ActorUnschedulableError):
            ray.get(call)
    (tmp_path / "go").touch()
    ray.get(late)
    assert core._validate() is None


def test_group_that_waits_comes_before_what_came_later(ray, tmp_path):
    holding = [ray.remote(wait_for_file).remote(str(tmp_path / "go")) for _ in range(2)]
    group = placement_group([{"CPU": 1}])
    later = [ray.remote(lambda: group_state(group)).remote() for _ in range(20)]
    second = placement_group([{"CPU": 1}])
    (tmp_path / "go").touch()
    ray.get([*holding, group.ready()])
    assert set(ray.get(later)) == {"CREATED"}
    ray.get(second.ready())
    for each in (group, second):
        remove_placement_group(each)


def group_state(group):
    return placement_group_table(group)["state"]


def test_groups_are_placed_in_the_order_in_which_they_came(ray):
    groups = [placement_group([{"CPU": 2}]) for _ in range(4)]
    for group in groups:
        ray.get(group.ready())
        assert [group_state(each) for each in groups].count("CREATED") == 1
        remove_placement_group(group)


def test_task_that_removes_its_own_group_is_ended_and_the_group_is_gone(ray):
    group = placement_group([{"CPU": 1}])
    task = ray.remote(lambda: remove_placement_group(get_current_placement_group()))
    with pytest.raises(TaskPlacementGroupRemoved):
        ray.get(task.options(**inside(group)).remote())
    other = placement_group([{"CPU": 1}])
    with pytest.raises(WorkerCrashedError):
        ray.get(task.options(max_retries=0, **inside(other)).remote())
    wait_until(lambda: everything_is_free(ray), "what the groups had is free")


def test_restartable_actor_of_a_removed_group_is_not_started_again(ray):
    group = placement_group([{"CPU": 1}])
    actor = ray.remote(Plain).options(num_cpus=1, max_restarts=-1, name="kept", **inside(group)).remote()
    ray.get(actor.__ray_ready__.remote())
    remove_placement_group(group)
    with pytest.raises(ActorDiedError, match="placement group was removed"):
        ray.get(actor.__ray_ready__.remote())
    wait_until(lambda: everything_is_free(ray), "what the group had is free")
    with pytest.raises(ValueError, match="kept"):
        ray.get_actor("kept")


def test_function_belongs_to_the_group_of_whoever_calls_it(ray):
    child = ray.remote(lambda: core._current_placement())
    parent = ray.remote(lambda: ray_get(child.remote()))
    groups = [placement_group([{"CPU": 1}]) for _ in range(2)]
    for group in [*groups, *groups]:
        found = ray.get(parent.options(**inside(group, -1, True)).remote())
        assert found == (group.id.binary(), True)
    for group in groups:
        remove_placement_group(group)
    assert ray.get(parent.remote()) is None


def ray_get(ref):
    import miniray

    return miniray.get(ref)


def test_many_bundles(ray):
    group = placement_group([{"CPU": 0.001}] * 1024)
    ray.get(group.ready())
    assert group.bundle_count == 1024
    assert core._validate() is None
    remove_placement_group(group)
    wait_until(lambda: everything_is_free(ray), "what the group had is free")
    with pytest.raises(ValueError, match="at most 1024 bundles, got 1025"):
        placement_group([{"CPU": 0.001}] * 1025)


@pytest.mark.parametrize(
    ("bundle", "text"),
    [
        ({"CPU": -1}, "The amount of CPU in a bundle must be a finite number of at least 0, got -1"),
        ({"CPU": float("inf")}, "must be a finite number"),
        ({"CPU": 0.00001}, "The amount of CPU in a bundle cannot be finer than 0.0001, got 1e-05"),
        ({"GPU": 1.5}, "GPU resource quantities >1 must be whole numbers"),
    ],
)
def test_bundle_that_makes_no_sense(ray, bundle, text):
    with pytest.raises(ValueError, match=text):
        placement_group([bundle])


@pytest.mark.parametrize(
    ("bundles", "strategy", "text"),
    [
        ([{"CPU": 1}] * 2, "STRICT_SPREAD", "has 2 bundles and the strategy STRICT_SPREAD"),
        ([{"CPU": 2}, {"CPU": 1}], "PACK", "asks for {'CPU': 3.0}, more than this session has in all"),
        ([{"gadget": 1}], "SPREAD", "asks for {'gadget': 1.0}, more than this session has in all"),
    ],
)
def test_group_that_never_gets_its_resources_is_warned_of(ray, caplog, bundles, strategy, text):
    with caplog.at_level(logging.WARNING, "miniray"):
        group = placement_group(bundles, strategy, name="never")
    assert text in caplog.text
    assert get_placement_group("never") == group
    assert not group.wait(0)
    remove_placement_group(group)
    assert core._validate() is None


def test_handle_of_an_earlier_session_is_of_no_group(ray):
    group = placement_group([{"CPU": 1}])
    task = ray.remote(number_of_process).options(**inside(group))
    ray.get(task.remote())
    ray.shutdown()
    ray.init(num_cpus=2)
    with pytest.raises(TaskPlacementGroupRemoved):
        ray.get(task.remote())
    with pytest.raises(TaskPlacementGroupRemoved):
        ray.get(group.ready())
    assert placement_group_table() == {}


def test_more_gpus_than_can_be_told_apart():
    import miniray

    with pytest.raises(ValueError, match="at most 64 GPUs"):
        miniray.init(num_cpus=1, num_gpus=65)
    assert not miniray.is_initialized()
