"""GPUs: which of them a task or an actor gets, and what it sees of that. They need not exist."""

import os

import pytest

pytestmark = pytest.mark.usefixtures("gpu_session")


def look(package):
    """Tell which GPUs the running task has, by every way there is."""
    ray = __import__(package)
    context = ray.get_runtime_context()
    return {
        "ids": ray.get_gpu_ids(),
        "accelerators": context.get_accelerator_ids()["GPU"],
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "assigned": dict(context.get_assigned_resources()),
        "process": os.getpid(),
    }


def look_and_wait(package, gate, started):
    """Tell the same, and hold the GPUs until the gate opens."""
    found = look(package)
    started.send(",".join(str(each) for each in found["ids"]))
    gate.wait()
    return found


class Keeper:
    """An actor that tells the same."""

    def look(self, package):
        return look(package)

    def wait(self, gate):
        gate.wait()


@pytest.fixture
def nothing():
    return {"ids": [], "accelerators": [], "visible": None}


def test_task_without_a_gpu_sees_none(ray, nothing):
    found = ray.get(ray.remote(look).remote(ray.__name__))
    assert {name: found[name] for name in nothing} == nothing


def test_driver_has_none(ray):
    assert ray.get_gpu_ids() == []
    assert ray.get_runtime_context().get_accelerator_ids()["GPU"] == []


@pytest.mark.parametrize("count", [1, 2])
def test_whole_gpus(ray, count):
    found = ray.get(ray.remote(look).options(num_gpus=count).remote(ray.__name__))
    assert len(found["ids"]) == count
    assert set(found["ids"]) <= {0, 1}
    assert sorted(found["accelerators"]) == sorted(str(each) for each in found["ids"])
    assert sorted(found["visible"].split(",")) == sorted(found["accelerators"])
    assert found["assigned"] == {"CPU": 1.0, "GPU": float(count)}


def test_tasks_at_once_have_different_gpus(ray, gate, started):
    task = ray.remote(look_and_wait).options(num_gpus=1)
    refs = [task.remote(ray.__name__, gate, started) for _ in range(2)]
    assert {started.receive(), started.receive()} == {"0", "1"}
    third = ray.remote(look).options(num_gpus=0.5).remote(ray.__name__)
    assert ray.wait([third], timeout=0.3) == ([], [third])
    gate.open()
    ray.get([*refs, third])


def test_shares_fill_one_gpu_before_another(ray, gate, started):
    task = ray.remote(look_and_wait).options(num_gpus=0.5, num_cpus=0.5)
    refs = [task.remote(ray.__name__, gate, started) for _ in range(2)]
    first, second = started.receive(), started.receive()
    assert first == second
    whole = ray.get(ray.remote(look).options(num_gpus=1).remote(ray.__name__))
    assert [str(each) for each in whole["ids"]] != [first]
    gate.open()
    for found in ray.get(refs):
        assert found["visible"] == first
        assert found["assigned"] == {"CPU": 0.5, "GPU": 0.5}


def test_what_is_left_of_two_gpus_is_no_whole_one(ray, gate, started):
    task = ray.remote(look_and_wait).options(num_gpus=0.6, num_cpus=0.5)
    refs = [task.remote(ray.__name__, gate, started) for _ in range(2)]
    assert {started.receive(), started.receive()} == {"0", "1"}
    large = ray.remote(look).options(num_gpus=0.8, num_cpus=0.5).remote(ray.__name__)
    assert ray.wait([large], timeout=0.3) == ([], [large])
    small = ray.remote(look).options(num_gpus=0.4, num_cpus=0.5).remote(ray.__name__)
    assert len(ray.get(small)["ids"]) == 1
    gate.open()
    ray.get([*refs, large])


def test_worker_that_had_a_gpu_sees_none_afterwards(ray, nothing):
    ray.get(ray.remote(max_calls=0, num_gpus=1)(look).remote(ray.__name__))
    plain = ray.remote(look)
    for found in ray.get([plain.remote(ray.__name__) for _ in range(8)]):
        assert {name: found[name] for name in nothing} == nothing


def test_task_with_a_gpu_has_a_process_of_its_own_each_time(ray):
    task = ray.remote(num_gpus=1)(look)
    assert len({ray.get(task.remote(ray.__name__))["process"] for _ in range(3)}) == 3


def test_actor_keeps_its_gpus(ray, gate, started):
    first, second = (ray.remote(Keeper).options(num_gpus=1).remote() for _ in range(2))
    found = ray.get([first.look.remote(ray.__name__), second.look.remote(ray.__name__)])
    assert sorted(each["ids"][0] for each in found) == [0, 1]
    assert [each["visible"] for each in found] == [str(each["ids"][0]) for each in found]
    assert ray.get(first.look.remote(ray.__name__)) == found[0]
    waits = ray.remote(look).options(num_gpus=1).remote(ray.__name__)
    assert ray.wait([waits], timeout=0.3) == ([], [waits])
    ray.kill(second)
    assert ray.get(waits)["ids"] == found[1]["ids"]


def test_gpu_of_a_task_that_dies_comes_back(ray, exceptions):
    die = ray.remote(num_gpus=2, max_retries=0)(lambda: os._exit(1))
    for _ in range(2):
        with pytest.raises(exceptions.WorkerCrashedError):
            ray.get(die.remote())
    assert sorted(ray.get(ray.remote(look).options(num_gpus=2).remote(ray.__name__))["ids"]) == [0, 1]


def test_waiting_task_keeps_its_gpu(ray, gate, started):
    @ray.remote(num_gpus=1)
    def parent(package):
        inner = __import__(package)
        return look(package)["ids"], inner.get(inner.remote(look).options(num_gpus=1).remote(package))["ids"]

    outer, inner = ray.get(parent.remote(ray.__name__))
    assert outer != inner


def test_more_gpus_than_there_are_wait(ray, gate):
    waits = ray.remote(look).options(num_gpus=3).remote(ray.__name__)
    assert ray.wait([waits], timeout=0.3) == ([], [waits])
    ray.cancel(waits)


def test_more_than_one_gpu_is_whole(ray):
    with pytest.raises(ValueError, match="whole numbers"):
        ray.remote(look).options(num_gpus=1.5).remote(ray.__name__)


def test_visible_devices_of_the_program_are_shared_out(run_program):
    done = run_program(
        """
import os
ray.init(num_cpus=2, num_gpus=2)
@ray.remote(num_gpus=1)
def f():
    return ray.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"]
@ray.remote
def g():
    return os.environ["CUDA_VISIBLE_DEVICES"]
print(sorted([ray.get(f.remote())[0] == [ray.get(f.remote())[1]], ray.get(f.remote())[1] in ("4", "7")]))
print(ray.get(g.remote()))
""",
        CUDA_VISIBLE_DEVICES="4,7",
    )
    assert done.stdout.splitlines()[-2:] == ["[True, True]", "4,7"]


def test_memory_is_a_resource(ray, gate, started):
    task = ray.remote(look_and_wait).options(memory=600_000_000, num_cpus=0.5)
    ref = task.remote(ray.__name__, gate, started)
    started.receive()
    second = ray.remote(look).options(memory=600_000_000).remote(ray.__name__)
    assert ray.wait([second], timeout=0.3) == ([], [second])
    assert ray.get(ray.remote(look).options(memory=300_000_000).remote(ray.__name__))["assigned"]["memory"] == 3e8
    assert ray.cluster_resources()["memory"] == 1e9
    gate.open()
    ray.get([ref, second])


def test_smallest_share(ray):
    found = ray.get(
        ray.remote(look).options(num_cpus=0.0001, num_gpus=0.0001, resources={"gadget": 0.0001}).remote(ray.__name__)
    )
    assert found["assigned"] == {"CPU": 0.0001, "GPU": 0.0001, "gadget": 0.0001}
    assert len(found["ids"]) == 1
