"""Every call of the API may come from any thread, of the driver and of a task."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = pytest.mark.usefixtures("session")


def test_threads_of_the_driver_may_call_everything(ray):
    add = ray.remote(lambda a, b: a + b)

    def work(i):
        ref = add.remote(i, ray.put(100))
        [ready], rest = ray.wait([ref])
        assert rest == []
        return ray.get(ready)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(40))) == [100 + i for i in range(40)]


def test_many_threads_may_use_one_remote_function_at_first(ray):
    @ray.remote
    def identity(x):
        return x

    barrier = threading.Barrier(8)

    def work(i):
        barrier.wait()
        return ray.get(identity.remote(i))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))


def test_threads_may_put_and_get_large_objects_at_the_same_time(ray):
    def work(i):
        data = bytes([i]) * 1_000_000
        return ray.get(ray.put(data)) == data

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(24)))


def test_ref_made_in_one_thread_is_usable_in_another(ray):
    refs = []
    thread = threading.Thread(target=lambda: refs.append(ray.remote(lambda: "made there").remote()))
    thread.start()
    thread.join()
    assert ray.get(refs[0]) == "made there"


def test_ref_dropped_in_another_thread_does_no_harm(ray):
    refs = [ray.put(bytes(200_000)) for _ in range(20)]
    kept = ray.put("kept")
    thread = threading.Thread(target=refs.clear)
    thread.start()
    thread.join()
    assert ray.get(kept) == "kept"


def test_threads_of_a_task_may_call_everything(ray):
    @ray.remote(num_cpus=0)
    def child(x):
        return x * 2

    @ray.remote
    def parent():
        def work(i):
            [ready], _ = ray.wait([child.remote(ray.put(i))])
            return ray.get(ready)

        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(work, range(12)))

    assert ray.get(parent.remote()) == [2 * i for i in range(12)]


def test_thread_left_by_a_task_may_call_the_api_after_it(ray, gate, started):
    @ray.remote
    def leave_a_thread(gate, started):
        def later():
            gate.wait()
            started.send(str(ray.get(ray.put(42))))

        threading.Thread(target=later, daemon=True).start()
        return "returned"

    assert ray.get(leave_a_thread.remote(gate, started)) == "returned"
    gate.open()
    assert started.receive() == "42"


def test_task_runs_in_the_main_thread_of_its_process(ray):
    @ray.remote
    def where():
        return threading.current_thread() is threading.main_thread()

    assert ray.get(where.remote()) is True


def test_error_in_a_thread_of_the_driver_is_that_threads_error(ray):
    @ray.remote
    def fail():
        raise ValueError("in a thread")

    with ThreadPoolExecutor(2) as pool:
        future = pool.submit(lambda: ray.get(fail.remote()))
        with pytest.raises(ValueError, match="in a thread"):
            future.result()
