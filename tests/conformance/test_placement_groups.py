"""Placement groups: bundles of resources that are kept for tasks and actors of a group."""

import importlib
import os

import pytest

pytestmark = pytest.mark.usefixtures("gpu_session")


@pytest.fixture
def groups(util):
    """Give the module of placement groups."""
    return importlib.import_module(f"{util.__name__}.placement_group")


@pytest.fixture
def inside(util):
    """Give a function that makes the option of a group."""
    module = importlib.import_module(f"{util.__name__}.scheduling_strategies")
    return lambda group, *rest: {"scheduling_strategy": module.PlacementGroupSchedulingStrategy(group, *rest)}


@pytest.fixture
def make(groups):
    """Give a function that makes groups, which are removed at the end."""
    made = []

    def make(bundles, strategy="PACK", **options):
        made.append(groups.placement_group(bundles, strategy, **options))
        return made[-1]

    yield make
    for group in made:
        groups.remove_placement_group(group)


def where(package):
    """Tell in which group the running task is, and what it has."""
    ray = __import__(package)
    context = ray.get_runtime_context()
    return {
        "group": context.get_placement_group_id(),
        "captures": context.should_capture_child_tasks_in_placement_group,
        "assigned": dict(context.get_assigned_resources()),
        "gpus": ray.get_gpu_ids(),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def hold(gate, started):
    started.send()
    gate.wait()
    return "held"


class Member:
    """An actor of a group."""

    def where(self, package):
        return where(package)

    def wait(self, gate, started):
        started.send()
        gate.wait()


@pytest.mark.parametrize("strategy", ["PACK", "SPREAD", "STRICT_PACK"])
def test_group_is_ready(ray, groups, make, strategy):
    group = make([{"CPU": 1}, {"CPU": 0.5, "gadget": 1}], strategy)
    assert ray.get(group.ready()) == group
    assert group.wait(10) is True
    assert group.bundle_count == 2
    assert group.bundle_specs == [{"CPU": 1.0}, {"CPU": 0.5, "gadget": 1.0}]
    assert isinstance(group.id, ray.PlacementGroupID)
    row = groups.placement_group_table(group)
    assert row == groups.placement_group_table()[group.id.hex()]
    assert (row["state"], row["strategy"], row["name"]) == ("CREATED", strategy, "")
    assert row["bundles"] == {0: {"CPU": 1.0}, 1: {"CPU": 0.5, "gadget": 1.0}}
    assert set(row["bundles_to_node_id"].values()) == {ray.get_runtime_context().get_node_id()}


def test_one_bundle_may_be_spread_strictly(make):
    assert make([{"CPU": 1}], "STRICT_SPREAD").wait(10)


def test_two_bundles_on_two_machines_wait(groups, make):
    group = make([{"CPU": 1}, {"CPU": 1}], "STRICT_SPREAD")
    assert group.wait(0.3) is False
    assert groups.placement_group_table(group)["state"] == "PENDING"


def test_tasks_run_inside(ray, make, inside):
    group = make([{"CPU": 1, "GPU": 0.5}, {"CPU": 1, "GPU": 1}])
    task = ray.remote(where)
    outside = ray.get(task.remote(ray.__name__))
    assert (outside["group"], outside["captures"]) == (None, False)
    found = ray.get(task.options(**inside(group)).remote(ray.__name__))
    assert (found["group"], found["captures"], found["assigned"]) == (group.id.hex(), False, {"CPU": 1.0})
    assert (found["gpus"], found["visible"]) == ([], None)
    whole = ray.get(task.options(num_gpus=1, **inside(group, 1)).remote(ray.__name__))
    half = ray.get(task.options(num_gpus=0.5, **inside(group, 0, True)).remote(ray.__name__))
    assert sorted([whole["gpus"][0], half["gpus"][0]]) == [0, 1]
    assert whole["visible"] == str(whole["gpus"][0])
    assert (half["captures"], half["assigned"]) == (True, {"CPU": 1.0, "GPU": 0.5})


def test_old_spelling(ray, make):
    group = make([{"CPU": 1}])
    task = ray.remote(where).options(placement_group=group, placement_group_bundle_index=0)
    assert ray.get(task.remote(ray.__name__))["group"] == group.id.hex()


def test_tasks_of_a_group_share_its_bundles_alone(ray, make, inside, gate, started):
    group = make([{"CPU": 1}, {"CPU": 1}])
    assert group.wait(10)
    task = ray.remote(hold)
    held = [task.options(**inside(group, 0)).remote(gate, started), task.options(**inside(group)).remote(gate, started)]
    for _ in held:
        started.receive()
    waits = [ray.remote(where).options(**inside(group, *index)).remote(ray.__name__) for index in ((), (0,), (1,))]
    assert ray.wait(waits, timeout=0.3) == ([], waits)
    assert ray.get(ray.remote(lambda: "outside").options(num_cpus=2).remote()) == "outside"
    gate.open()
    assert len(ray.get([*held, *waits])) == 5


def test_what_a_group_has_is_not_for_others(ray, make, gate):
    group = make([{"CPU": 2}, {"CPU": 1}])
    assert group.wait(10)
    waits = ray.remote(lambda: "ran").options(num_cpus=2).remote()
    assert ray.wait([waits], timeout=0.3) == ([], [waits])
    assert ray.get(ray.remote(lambda: "ran").remote()) == "ran"
    ray.cancel(waits)


def test_resources_show_the_group(ray, make):
    group = make([{"CPU": 1, "GPU": 0.5}, {"CPU": 2}])
    assert group.wait(10)
    key = group.id.hex()
    while ray.available_resources().get("CPU") != 1.0:
        pass
    while not any(key in name for name in ray.cluster_resources()):  # Ray tells it a moment later
        pass
    total = ray.cluster_resources()
    assert (total["CPU"], total["GPU"]) == (4.0, 2.0)
    assert {name: amount for name, amount in total.items() if key in name} == {
        f"CPU_group_0_{key}": 1.0,
        f"CPU_group_1_{key}": 2.0,
        f"CPU_group_{key}": 3.0,
        f"GPU_group_0_{key}": 0.5,
        f"GPU_group_{key}": 0.5,
        f"bundle_group_0_{key}": 1000.0,
        f"bundle_group_1_{key}": 1000.0,
        f"bundle_group_{key}": 2000.0,
    }
    assert ray.available_resources()["GPU"] == 1.5


@pytest.mark.parametrize(
    ("options", "rest", "text"),
    [
        ({"num_cpus": 2}, (), "cannot fit into any bundles"),
        ({"resources": {"gadget": 1}}, (), "cannot fit into any bundles"),
        ({}, (1,), "placement group bundle index 1 is invalid. Valid placement group indexes: 0-1"),
        ({}, (-2,), "placement group bundle index -2 is invalid"),
    ],
)
def test_what_fits_no_bundle_is_an_error_of_the_call(ray, make, inside, options, rest, text):
    group = make([{"CPU": 1}])
    with pytest.raises(ValueError, match=text):
        ray.remote(where).options(**options, **inside(group, *rest)).remote(ray.__name__)
    with pytest.raises(ValueError, match=text):
        ray.remote(Member).options(**options, **inside(group, *rest)).remote()


def test_actor_needs_a_cpu_of_the_group_to_be_placed(ray, make, inside):
    group = make([{"gadget": 1}])
    with pytest.raises(ValueError, match="the actor requires 1 CPU for creation"):
        ray.remote(Member).options(**inside(group)).remote()
    actor = ray.remote(Member).options(num_cpus=0, **inside(group)).remote()
    assert ray.get(actor.where.remote(ray.__name__))["group"] == group.id.hex()


def test_bundle_needs_a_group(ray, inside):
    for options in ({"placement_group_bundle_index": 1}, inside(None, 1)):
        with pytest.raises(ValueError, match="If placement group is not set"):
            ray.remote(where).options(**options).remote(ray.__name__)
    assert ray.get(ray.remote(where).options(**inside(None)).remote(ray.__name__))["group"] is None


def test_group_is_spelt_once(ray, make, inside):
    group = make([{"CPU": 1}])
    with pytest.raises(ValueError, match="should be specified via the scheduling_strategy"):
        ray.remote(where).options(placement_group=group, **inside(group))


def test_actors_live_inside(ray, make, inside, started, gate):
    group = make([{"CPU": 1, "GPU": 1}])
    actor = ray.remote(Member).options(num_cpus=1, num_gpus=1, **inside(group)).remote()
    found = ray.get(actor.where.remote(ray.__name__))
    assert (found["group"], found["assigned"]) == (group.id.hex(), {"CPU": 1.0, "GPU": 1.0})
    assert found["visible"] == str(found["gpus"][0])
    waits = ray.remote(where).options(**inside(group)).remote(ray.__name__)
    assert ray.wait([waits], timeout=0.3) == ([], [waits])
    ray.kill(actor)
    assert ray.get(waits)["group"] == group.id.hex()


def test_children_stay_inside_only_if_they_are_captured(ray, make, inside):
    @ray.remote
    def parent(package):
        ray = __import__(package)
        calls = [
            ray.remote(where).options(num_cpus=0),
            ray.remote(where).options(num_cpus=0, scheduling_strategy="DEFAULT"),
            ray.remote(where).options(num_cpus=0, placement_group=None),
        ]
        return [each["group"] for each in ray.get([call.remote(package) for call in calls])]

    group = make([{"CPU": 1}])
    captured = parent.options(**inside(group, -1, True)).remote(ray.__name__)
    assert ray.get(captured) == [group.id.hex(), None, None]
    assert ray.get(parent.options(**inside(group)).remote(ray.__name__)) == [None, None, None]
    assert ray.get(parent.remote(ray.__name__)) == [None, None, None]


def test_captured_child_runs_on_the_cpu_of_its_waiting_parent(ray, make, inside):
    group = make([{"CPU": 1}])

    @ray.remote
    def outer(package):
        ray = __import__(package)
        return ray.get(ray.remote(where).remote(package))["group"]

    assert ray.get(outer.options(**inside(group, -1, True)).remote(ray.__name__)) == group.id.hex()


def test_captured_child_that_fits_no_bundle(ray, make, inside):
    @ray.remote
    def parent(package):
        ray = __import__(package)
        try:
            ray.remote(where).options(num_cpus=3).remote(package)
        except ValueError as error:
            return str(error)

    told = ray.get(parent.options(**inside(make([{"CPU": 1}]), -1, True)).remote(ray.__name__))
    assert "cannot fit into any bundles" in told


def test_current_group(ray, groups, make, inside):
    @ray.remote
    def current(package):
        return importlib.import_module(f"{package}.util.placement_group").get_current_placement_group()

    assert groups.get_current_placement_group() is None
    assert ray.get(current.remote(ray.__name__)) is None
    group = make([{"CPU": 1}])
    assert ray.get(current.options(**inside(group)).remote(ray.__name__)) == group


def test_handles_are_values(ray, groups, make, inside):
    group = make([{"CPU": 1}])
    assert group.wait(10)

    @ray.remote
    def use(package, given):
        ray = __import__(package)
        module = importlib.import_module(f"{package}.util.scheduling_strategies")
        strategy = module.PlacementGroupSchedulingStrategy(given[0])
        return given, ray.get(ray.remote(where).options(scheduling_strategy=strategy).remote(package))["group"]

    back, found = ray.get(use.remote(ray.__name__, [group]))
    assert back == [group]
    assert hash(back[0]) == hash(group)
    assert found == group.id.hex()
    assert group != groups.PlacementGroup.empty()
    assert groups.PlacementGroup.empty().is_empty


def test_names(ray, groups, make, exceptions):
    group = make([{"CPU": 1}], name="the name")
    assert group.wait(10)
    found = groups.get_placement_group("the name")
    assert found == group
    assert found.bundle_specs == [{"CPU": 1.0}]
    with pytest.raises(exceptions.RaySystemError, match="name 'the name' already exists"):
        groups.placement_group([{"CPU": 1}], name="the name")
    groups.remove_placement_group(group)
    for name in ("the name", "another"):
        with pytest.raises(ValueError, match=f"Failed to look up placement group with name: {name}"):
            groups.get_placement_group(name)
    with pytest.raises(ValueError, match="non-empty value"):
        groups.get_placement_group("")


def test_waiting_group_gets_what_comes_free(ray, make, inside, gate, started):
    first = make([{"CPU": 3}])
    assert first.wait(10)
    second = make([{"CPU": 2}])
    assert second.wait(0.3) is False
    inner = ray.remote(where).options(**inside(second)).remote(ray.__name__)
    importlib.import_module(type(first).__module__).remove_placement_group(first)
    assert ray.get(second.ready()) == second
    assert ray.get(inner)["group"] == second.id.hex()


def test_removed_group_ends_its_tasks(ray, groups, make, inside, exceptions, gate, started):
    group = make([{"CPU": 1}, {"CPU": 1}])
    once = ray.remote(hold).options(max_retries=0, **inside(group))
    running = [once.remote(gate, started) for _ in range(2)]
    for _ in running:
        started.receive()
    queued = ray.remote(hold).options(**inside(group)).remote(gate, started)
    assert ray.wait([queued], timeout=0.3) == ([], [queued])
    assert ray.get(group.ready()) == group
    groups.remove_placement_group(group)
    for ref in running:
        with pytest.raises(exceptions.WorkerCrashedError):
            ray.get(ref)
    with pytest.raises(exceptions.TaskPlacementGroupRemoved, match="has been removed"):
        ray.get(queued)
    with pytest.raises(exceptions.TaskPlacementGroupRemoved):
        ray.get(group.ready())
    with pytest.raises(Exception, match="does not exist"):
        group.wait(1)
    assert groups.placement_group_table(group)["state"] == "REMOVED"
    groups.remove_placement_group(group)


def test_removed_group_ends_its_actors(ray, groups, make, inside, exceptions, gate, started):
    group = make([{"CPU": 1}])
    actor = ray.remote(Member).options(num_cpus=1, **inside(group)).remote()
    running = actor.wait.remote(gate, started)
    started.receive()
    pending = ray.remote(Member).options(num_cpus=1, **inside(group)).remote().where.remote(ray.__name__)
    assert ray.wait([pending], timeout=0.3) == ([], [pending])
    groups.remove_placement_group(group)
    with pytest.raises(exceptions.ActorDiedError, match="placement group was removed"):
        ray.get(running)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.where.remote(ray.__name__))
    with pytest.raises(exceptions.ActorUnschedulableError, match="placement group was removed"):
        ray.get(pending)


def test_ready_of_a_group_that_is_removed_while_it_waits(ray, groups, make, exceptions):
    group = make([{"CPU": 5}])
    ready = group.ready()
    assert groups.placement_group_table(group)["state"] == "PENDING"
    groups.remove_placement_group(group)
    with pytest.raises(exceptions.TaskPlacementGroupRemoved):
        ray.get(ready)


def test_group_outlives_the_actor_that_made_it(ray, groups):
    class Maker:
        def make(self, package):
            module = importlib.import_module(f"{package}.util.placement_group")
            group = module.placement_group([{"CPU": 1}])
            assert group.wait(10)
            return group

    maker = ray.remote(Maker).remote()
    group = ray.get(maker.make.remote(ray.__name__))
    ray.kill(maker)
    assert groups.placement_group_table(group)["state"] == "CREATED"
    groups.remove_placement_group(group)


@pytest.mark.parametrize(
    ("bundles", "options", "text"),
    [
        ([], {}, "Bundles must be a non-empty list"),
        (None, {}, "Placement group bundles must be a list"),
        ([{}], {}, "Bundles cannot be an empty dictionary"),
        ([{"CPU": 0}], {}, "Bundles cannot be an empty dictionary"),
        ([{"CPU": "1"}], {}, "Bundles must be a non-empty list of resource dictionaries"),
        ([{"CPU": 1}], {"strategy": "X"}, "Invalid placement group strategy X"),
        ([{"CPU": 1}], {"lifetime": "x"}, "`lifetime` argument must be either"),
        ([{"CPU": 1}], {"bundle_label_selector": []}, "Invalid bundle label selector"),
        ([{"CPU": 1}], {"strategy": "PACK", "topology_strategy": {}}, "cannot both be specified"),
        ([{"CPU": 1}], {"_soft_target_node_id": "ab" * 28}, "only works with STRICT_PACK"),
    ],
)
def test_bad_group(groups, bundles, options, text):
    with pytest.raises(ValueError, match=text):
        groups.placement_group(bundles, **options)


def test_detached_group(ray, make):
    assert make([{"CPU": 1}], lifetime="detached").wait(10)


def test_util_has_the_functions(util, groups):
    names = ("placement_group", "placement_group_table", "get_placement_group", "get_current_placement_group")
    for name in (*names, "remove_placement_group"):
        assert getattr(util, name) is getattr(groups, name)
    assert {"PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"} == groups.VALID_PLACEMENT_GROUP_STRATEGIES
