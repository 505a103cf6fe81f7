"""get_runtime_context in the driver, tasks and actors; nodes and resources."""

import re

import pytest

pytestmark = pytest.mark.usefixtures("session")

IDS = ("get_job_id", "get_node_id", "get_worker_id", "get_task_id", "get_actor_id")


def facts(package):
    """Tell what the context says, in a process of the session."""
    ray = __import__(package)
    context = ray.get_runtime_context()
    found = {name: getattr(context, name)() for name in (*IDS, "get_task_name", "get_actor_name", "get_session_name")}
    found["resources"] = dict(context.get_assigned_resources())
    found["namespace"] = context.namespace
    return found


def test_driver(ray):
    context = ray.get_runtime_context()
    for name in ("get_job_id", "get_node_id", "get_worker_id"):
        assert re.fullmatch("[0-9a-f]+", getattr(context, name)())
    for name in ("get_task_id", "get_actor_id", "get_task_name", "get_actor_name", "get_placement_group_id"):
        assert getattr(context, name)() is None
    assert context.get_runtime_env_string() == "{}"
    assert context.runtime_env == {}
    with pytest.raises(RuntimeError, match="only available in an actor"):
        context.current_actor  # noqa: B018
    with pytest.raises(AssertionError, match="only available when the process is a"):
        context.get_assigned_resources()
    with pytest.raises(RuntimeError, match="only available when the process is a worker"):
        context.is_canceled()


def test_task(ray):
    context = ray.get_runtime_context()
    task = ray.remote(facts)
    first, second = ray.get(
        [task.options(name="my name", num_cpus=0.5).remote(ray.__name__), task.remote(ray.__name__)]
    )
    assert first["get_task_id"] != second["get_task_id"]
    assert re.fullmatch("[0-9a-f]{48}", first["get_task_id"])
    assert (first["get_task_name"], second["get_task_name"]) == ("my name", "facts")
    assert (first["get_actor_id"], first["get_actor_name"]) == (None, None)
    assert (first["resources"], second["resources"]) == ({"CPU": 0.5}, {"CPU": 1.0})
    for name in ("get_job_id", "get_node_id", "get_session_name"):
        assert first[name] == getattr(context, name)()
    assert first["namespace"] == context.namespace
    assert first["get_worker_id"] != context.get_worker_id()


def test_custom_resources_of_a_task(ray):
    task = ray.remote(facts).options(num_cpus=0, resources={"gadget": 0.25})
    assert ray.get(task.remote(ray.__name__))["resources"] == {"gadget": 0.25}


class Telling:
    """An actor that tells."""

    def __init__(self, package):
        self.package = package
        self.first = facts(package)

    def facts(self):
        return facts(self.package)

    def first_facts(self):
        return self.first

    def me(self):
        return __import__(self.package).get_runtime_context().current_actor

    def reconstructed(self):
        return __import__(self.package).get_runtime_context().was_current_actor_reconstructed

    def is_canceled(self):
        return __import__(self.package).get_runtime_context().is_canceled()


def test_actor(ray):
    actor = ray.remote(Telling).remote(ray.__name__)
    found, first, again = ray.get([actor.facts.remote(), actor.first_facts.remote(), actor.facts.remote()])
    assert found["get_actor_id"] == first["get_actor_id"] == actor._actor_id.hex()
    assert len({each["get_task_id"] for each in (found, first, again)}) == 3
    assert (found["get_task_name"], first["get_task_name"]) == ("Telling.facts", "Telling.__init__")
    assert found["get_actor_name"] == first["get_actor_name"] == ""
    assert found["resources"] == first["resources"] == {}
    assert found["get_worker_id"] == first["get_worker_id"]
    assert ray.get(actor.is_canceled.remote()) is False


def test_named_actor_with_resources(ray):
    actor = ray.remote(Telling).options(name="telling", num_cpus=1, resources={"gadget": 1}).remote(ray.__name__)
    found = ray.get(actor.facts.remote())
    assert found["get_actor_name"] == "telling"
    assert found["resources"] == {"CPU": 1.0, "gadget": 1.0}
    ray.kill(actor)


def test_current_actor(ray):
    actor = ray.remote(num_cpus=0)(Telling).remote(ray.__name__)
    me = ray.get(actor.me.remote())
    assert me == actor
    assert ray.get(me.is_canceled.remote()) is False


def test_actor_that_was_started_again(ray):
    actor = ray.remote(num_cpus=0, max_restarts=1, max_task_retries=1)(Telling).remote(ray.__name__)
    assert ray.get(actor.reconstructed.remote()) is False
    ray.kill(actor, no_restart=False)
    assert ray.get(actor.reconstructed.remote()) is True


def test_async_actor(ray):
    @ray.remote(num_cpus=0)
    class Asynchronous:
        async def facts(self, package):
            return facts(package)

        async def call_itself(self, package):
            return await __import__(package).get_runtime_context().current_actor.facts.remote(package)

        async def is_canceled(self, package):
            return __import__(package).get_runtime_context().is_canceled()

    actor = Asynchronous.remote()
    found = ray.get([actor.facts.remote(ray.__name__) for _ in range(5)])
    assert len({each["get_task_id"] for each in found}) == 5
    assert {each["get_actor_id"] for each in found} == {actor._actor_id.hex()}
    assert ray.get(actor.call_itself.remote(ray.__name__))["get_task_name"] == "Asynchronous.facts"
    with pytest.raises(RuntimeError, match="not supported in an async actor"):
        ray.get(actor.is_canceled.remote(ray.__name__))


def test_threads_of_an_actor(ray):
    actor = ray.remote(num_cpus=0, max_concurrency=3)(Telling).remote(ray.__name__)
    found = ray.get([actor.facts.remote() for _ in range(10)])
    assert len({each["get_task_id"] for each in found}) == 10


def test_nodes(ray):
    [node] = ray.nodes()
    assert node["Alive"] is node["alive"] is True
    assert node["NodeID"] == ray.get_runtime_context().get_node_id()
    assert node["Resources"]["CPU"] == 2.0
    assert node["Resources"] == ray.cluster_resources()


def test_resources(ray, started, gate):
    @ray.remote(num_cpus=2, resources={"gadget": 0.5})
    def hold(started, gate):
        started.send()
        gate.wait()

    total = ray.cluster_resources()
    assert (total["CPU"], total["gadget"]) == (2.0, 2.0)
    assert total["memory"] > 0
    assert total["object_store_memory"] > 0
    holding = hold.remote(started, gate)
    started.receive()
    while "CPU" in (left := ray.available_resources()):
        pass
    assert left["gadget"] == 1.5
    gate.open()
    ray.get(holding)
    while ray.available_resources().get("CPU") != 2.0:
        pass
    assert ray.available_resources()["gadget"] == 2.0


def test_resources_in_a_task(ray):
    @ray.remote
    def look(package):
        return __import__(package).cluster_resources()["CPU"]

    assert ray.get(look.remote(ray.__name__)) == 2.0
