"""Tasks that start tasks and wait for them: their CPU is given back meanwhile, so that nesting never deadlocks."""

import threading

import pytest

pytestmark = pytest.mark.usefixtures("one_cpu_session")


def test_task_may_get_a_task_it_starts_on_the_only_cpu(ray):
    @ray.remote
    def inner(x):
        return x + 1

    @ray.remote
    def outer(x):
        return ray.get(inner.remote(x)) * 10

    assert ray.get(outer.remote(1)) == 20


def test_task_may_wait_for_a_task_it_starts_on_the_only_cpu(ray):
    @ray.remote
    def inner():
        return "inner"

    @ray.remote
    def outer():
        [ready], rest = ray.wait([inner.remote()])
        return ray.get(ready), rest

    assert ray.get(outer.remote()) == ("inner", [])


def test_deep_nesting_on_one_cpu_ends(ray):
    @ray.remote
    def down(depth):
        return 0 if depth == 0 else 1 + ray.get(down.remote(depth - 1))

    assert ray.get(down.remote(8)) == 8


def test_wide_nesting_on_one_cpu_ends(ray):
    @ray.remote
    def leaf(i):
        return i

    @ray.remote
    def branch(i):
        return sum(ray.get([leaf.remote(10 * i + j) for j in range(10)]))

    assert sum(ray.get([branch.remote(i) for i in range(4)])) == sum(range(40))


def test_tree_of_tasks_on_one_cpu_ends(ray):
    @ray.remote
    def fibonacci(n):
        if n < 2:
            return n
        return sum(ray.get([fibonacci.remote(n - 1), fibonacci.remote(n - 2)]))

    assert ray.get(fibonacci.remote(5)) == 5


def test_parent_gets_its_cpu_back_after_the_child(ray, started, gate):
    @ray.remote
    def child():
        return 1

    @ray.remote
    def parent(started, gate):
        ray.get(child.remote())
        started.send()
        gate.wait()
        return "parent"

    held = parent.remote(started, gate)
    started.receive()
    other = ray.remote(lambda: "other").remote()
    assert ray.wait([other], timeout=0.5) == ([], [other])
    gate.open()
    assert ray.get([held, other]) == ["parent", "other"]


def test_blocked_parent_lets_strangers_run(ray, gate):
    @ray.remote(num_cpus=0)
    def slow(gate):
        gate.wait()
        return "slow"

    @ray.remote
    def parent(refs):
        return ray.get(refs[0])

    blocked = parent.remote([slow.remote(gate)])
    assert ray.get(ray.remote(lambda: "stranger").remote()) == "stranger"
    gate.open()
    assert ray.get(blocked) == "slow"


def test_blocked_parent_keeps_its_custom_resource(ray):
    @ray.remote(num_cpus=0, resources={"gadget": 1})
    def child():
        return 1

    @ray.remote(num_cpus=0, resources={"gadget": 2})
    def parent():
        ref = child.remote()
        ready, _ = ray.wait([ref], timeout=0.5)
        return len(ready), [ref]

    ready, [ref] = ray.get(parent.remote())
    assert ready == 0
    assert ray.get(ref) == 1


def test_ref_of_a_child_may_be_handed_to_another_child(ray):
    @ray.remote
    def make():
        return [1, 2, 3]

    @ray.remote
    def total(values):
        return sum(values)

    @ray.remote
    def parent():
        return ray.get(total.remote(make.remote()))

    assert ray.get(parent.remote()) == 6


def test_task_may_get_what_its_caller_put(ray):
    ref = ray.put({"config": 1})

    @ray.remote
    def read(refs):
        return ray.get(refs[0])["config"]

    @ray.remote
    def outer(refs):
        return ray.get(read.remote(refs))

    assert ray.get(outer.remote([ref])) == 1


def test_children_started_in_a_thread_of_a_task_run(ray):
    @ray.remote(num_cpus=0)
    def child(x):
        return x * 2

    @ray.remote
    def parent():
        results = []
        threads = [threading.Thread(target=lambda i=i: results.append(ray.get(child.remote(i)))) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(results)

    assert ray.get(parent.remote()) == [0, 2, 4, 6]


def test_second_init_in_a_task_is_a_runtime_error(ray):
    @ray.remote
    def start():
        ray.init()

    with pytest.raises(RuntimeError, match="ignore_reinit_error"):
        ray.get(start.remote())


def test_session_is_initialized_inside_a_task(ray):
    assert ray.get(ray.remote(lambda: ray.is_initialized()).remote()) is True


def test_init_with_ignore_reinit_error_in_a_task_changes_nothing(ray):
    @ray.remote
    def start():
        ray.init(ignore_reinit_error=True)
        return ray.get(ray.put("same session"))

    assert ray.get(start.remote()) == "same session"
