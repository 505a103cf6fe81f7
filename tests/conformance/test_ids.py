"""The id types, and the ids of refs, tasks and functions."""

import pickle
import re

import pytest

pytestmark = pytest.mark.usefixtures("session")

SIZES = {
    "ActorClassID": 28,
    "ActorID": 16,
    "FunctionID": 28,
    "JobID": 4,
    "NodeID": 28,
    "PlacementGroupID": 18,
    "TaskID": 24,
    "WorkerID": 28,
}


@pytest.mark.parametrize("name", SIZES)
def test_id_is_its_bytes(ray, name):
    kind, size = getattr(ray, name), SIZES[name]
    data = bytes(range(size))
    found = kind.from_binary(data)
    assert kind.size() == size
    assert (found.binary(), found.hex(), found.is_nil()) == (data, data.hex(), False)
    assert found == kind.from_hex(data.hex()) == pickle.loads(pickle.dumps(found)) == kind(data)
    assert hash(found) == hash(kind(data))
    assert found != kind.nil()
    assert repr(found) == f"{name}({data.hex()})"
    assert kind.nil().is_nil()
    assert kind.nil().binary() == b"\xff" * size


@pytest.mark.parametrize("name", ["UniqueID", "NodeID", "WorkerID", "FunctionID", "ActorClassID", "ActorID"])
def test_random_ids_differ(ray, name):
    kind = getattr(ray, name)
    assert kind.from_random() != kind.from_random()


def test_ids_of_one_kind_equal_no_others(ray):
    data = bytes(28)
    assert ray.NodeID(data) != ray.WorkerID(data)


def test_ids_have_a_fixed_length(ray):
    with pytest.raises(ValueError, match="length 28"):
        ray.NodeID(b"short")


def test_numbers_of_jobs(ray):
    assert ray.JobID.from_int(7).int() == 7
    assert ray.JobID.from_int(7).hex() == "07000000"


def test_ids_that_are_made_of_others(ray):
    job = ray.JobID.from_int(3)
    driver = ray.TaskID.for_driver_task(job)
    actor = ray.ActorID.of(job, driver, 1)
    assert actor.job_id == job
    assert actor != ray.ActorID.of(job, driver, 2)
    task = ray.TaskID.for_normal_task(job, driver, 1)
    assert task.job_id() == job
    assert task != driver
    assert task == ray.TaskID.for_normal_task(job, driver, 1) != ray.TaskID.for_normal_task(job, driver, 2)
    call = ray.TaskID.for_actor_task(job, driver, 1, actor)
    assert (call.actor_id(), call.job_id()) == (actor, job)
    assert ray.TaskID.for_actor_creation_task(actor).actor_id() == actor
    assert ray.TaskID.for_fake_task(job).job_id() == job
    assert ray.PlacementGroupID.of(job).hex().endswith("03000000")


def test_ids_of_the_context_are_ids(ray):
    context = ray.get_runtime_context()
    for kind, text in (
        ("NodeID", context.get_node_id()),
        ("WorkerID", context.get_worker_id()),
        ("JobID", context.get_job_id()),
    ):
        assert getattr(ray, kind).from_hex(text).hex() == text


def test_refs_know_the_task_that_makes_them(ray):
    @ray.remote
    def own(package):
        return __import__(package).get_runtime_context().get_task_id()

    refs = [own.remote(ray.__name__) for _ in range(2)]
    assert ray.get(refs) == [ref.task_id().hex() for ref in refs]
    assert refs[0].task_id() != refs[1].task_id()
    assert {ref.job_id().hex() for ref in refs} == {ray.get_runtime_context().get_job_id()}
    assert isinstance(refs[0].task_id(), ray.TaskID)
    assert isinstance(refs[0].job_id(), ray.JobID)


def test_refs_of_put(ray):
    ref = ray.put(1)
    assert ref.job_id().hex() == ray.get_runtime_context().get_job_id()
    assert ref.task_id().job_id() == ref.job_id()


def told(package):
    context = __import__(package).get_runtime_context()
    return context.get_task_name(), context.get_task_function_name()


class Telling:
    def method(self, package):
        return told(package)


def test_function_names_apart_from_names_of_tasks(ray):
    assert ray.get_runtime_context().get_task_function_name() is None
    task = ray.remote(told).options(name="a name")
    assert ray.get(task.remote(ray.__name__)) == ("a name", f"{__name__}.told")
    actor = ray.remote(Telling).remote()
    assert ray.get(actor.method.remote(ray.__name__)) == ("Telling.method", f"{__name__}.Telling.method")


def test_function_name_in_a_function(ray):
    @ray.remote
    def inner(package):
        return told(package)[1]

    assert re.fullmatch(
        rf"{__name__}\.(test_function_name_in_a_function\.<locals>\.)?inner", ray.get(inner.remote(ray.__name__))
    )
