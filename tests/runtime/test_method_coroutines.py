"""Calls of async actors as asyncio sees them: each is the coroutine of a Task of its own, begun, cancelled and ended once."""

import asyncio
import contextlib
import functools
import inspect
import sys

import pytest

from miniray.exceptions import TaskCancelledError


class Looped:
    def __init__(self):
        self.tasks = {}
        self.made = []
        self.cleaned = 0

    async def ready(self):
        return True

    async def own_task(self):
        task = asyncio.current_task()
        self.tasks["own"] = task
        coroutine = task.get_coro()
        line = task.get_stack()[-1]
        return {
            "name": task.get_name(),
            "qualname": coroutine.__qualname__,
            "is_coroutine": asyncio.iscoroutine(coroutine),
            "frame": line.f_code.co_name,
            "text": repr(task),
        }

    async def own_task_is_done(self):
        return self.tasks["own"].done(), self.tasks["own"].result()

    async def misuse(self):
        coroutine = asyncio.current_task().get_coro()
        found = []
        for use in (lambda: coroutine.send(None), lambda: coroutine.throw(KeyError()), coroutine.close):
            try:
                use()
            except ValueError as error:
                found.append(str(error))
        return found

    async def use_again(self):
        coroutine = self.tasks["own"].get_coro()
        coroutine.close()
        try:
            await coroutine
        except RuntimeError as error:
            return str(error)

    async def sleep(self, seconds=1000.0):
        await asyncio.sleep(seconds)

    async def wait_and_clean(self):
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            for _ in range(100):
                await asyncio.sleep(0.001)
            self.cleaned += 1
            raise

    async def wait_and_clean_begun(self):
        return sum(task.get_name() == "wait_and_clean" for task in asyncio.all_tasks())

    async def cleaned_calls(self):
        return self.cleaned

    async def cancel_all(self):
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def close_others(self):
        closed = 0
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.get_coro().close()
            task.cancel()
            closed += 1
        return closed

    async def throws_at_others(self):
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            try:
                task.get_coro().throw(KeyError, KeyError("thrown"))
            except StopIteration:
                task.cancel()

    async def set_factory(self):
        def make(loop, coroutine, **options):
            self.made.append(coroutine.__name__)
            return asyncio.Task(coroutine, loop=loop, **options)

        asyncio.get_running_loop().set_task_factory(make)

    async def set_eager_factory(self):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)

    async def made_tasks(self):
        return self.made

    async def give(self, *args, **kwargs):
        await asyncio.sleep(0)
        return args, kwargs


@pytest.fixture
def actor(ray):
    actor = ray.remote(num_cpus=0)(Looped).remote()
    assert ray.get(actor.ready.remote())
    return actor


def test_a_call_is_a_task_with_the_name_of_its_method(ray, actor):
    found = ray.get(actor.own_task.remote())
    assert found["name"] == "own_task"
    assert found["qualname"] == "Looped.own_task"
    assert found["is_coroutine"]
    assert found["frame"] == "own_task"
    assert "Looped.own_task" in found["text"]
    assert ray.get(actor.own_task_is_done.remote()) == (True, None)


class Partial:
    def __init__(self):
        self.give = functools.partial(self.give, 1)  # it has no name

    def give(self, *values):
        return values

    async def is_async(self):
        return asyncio.current_task().get_name()


class Threaded(Partial):
    is_async = None


@pytest.mark.parametrize("kind", [Partial, Threaded])
def test_method_without_a_name_runs(ray, kind):
    actor = ray.remote(num_cpus=0, max_concurrency=2)(kind).remote()
    assert ray.get(actor.give.remote(2)) == (1, 2)


def test_arguments_of_all_kinds_arrive(ray, actor):
    assert ray.get(actor.give.remote()) == ((), {})
    assert ray.get(actor.give.remote(1, ray.put(2), a=3, b=ray.put(4))) == ((1, 2), {"a": 3, "b": 4})
    assert ray.get(actor.give.remote(**{f"name{i}": i for i in range(40)})) == ((), {f"name{i}": i for i in range(40)})


def test_a_coroutine_that_runs_is_not_run_by_another(ray, actor):
    assert ray.get(actor.misuse.remote()) == ["coroutine already executing"] * 3
    assert ray.get(actor.ready.remote())


def test_a_coroutine_that_is_over_is_not_run_again(ray, actor):
    ray.get(actor.own_task.remote())
    assert ray.get(actor.use_again.remote()) == "cannot reuse already awaited coroutine"


@pytest.mark.parametrize("way", ["cancel_all", "close_others"])
def test_calls_that_the_actor_cancels_itself_are_answered(ray, actor, way):
    refs = [actor.sleep.remote() for _ in range(3)]
    ray.get(actor.ready.remote())
    ray.get(getattr(actor, way).remote())
    for ref in refs:
        with pytest.raises(TaskCancelledError):
            ray.get(ref)
    assert ray.get(actor.ready.remote())


def test_a_call_that_is_cancelled_before_it_runs_is_answered(ray, actor):
    """The batch of calls arrives as a whole often enough: the first cancels what the loop has not run yet."""
    for _ in range(20):
        first, *others = [actor.cancel_all.remote(), *(actor.sleep.remote(0.0) for _ in range(5))]
        ray.get(first)
        for ref in others:
            with contextlib.suppress(TaskCancelledError):
                ray.get(ref)
    assert ray.get(actor.ready.remote())


def test_what_is_thrown_into_a_call_is_its_error(ray, actor):
    ref = actor.sleep.remote()
    ray.get(actor.ready.remote())
    ray.get(actor.throws_at_others.remote())
    with pytest.raises(KeyError, match="thrown"):
        ray.get(ref)
    assert ray.get(actor.ready.remote())


def test_a_cancelled_call_cleans_up_while_others_are_cancelled(ray, actor):
    refs = [actor.wait_and_clean.remote() for _ in range(5)]
    while ray.get(actor.wait_and_clean_begun.remote()) < 5:
        pass
    for ref in refs:
        ray.cancel(ref)
    for ref in refs:
        with pytest.raises(TaskCancelledError):
            ray.get(ref)
    while ray.get(actor.wait_and_clean_begun.remote()) != 0:
        pass
    assert ray.get(actor.cleaned_calls.remote()) == 5


def test_task_factory_of_the_loop_makes_the_tasks(ray, actor):
    ray.get(actor.set_factory.remote())
    assert ray.get(actor.give.remote(1)) == ((1,), {})
    assert ray.get(actor.made_tasks.remote()) == ["give", "made_tasks"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio.eager_task_factory is of Python 3.12")
def test_calls_of_a_full_group_run_when_tasks_are_eager(ray):
    actor = ray.remote(num_cpus=0, concurrency_groups={"one": 1}, max_concurrency=1)(Looped).remote()
    ray.get(actor.set_eager_factory.remote())
    first = actor.sleep.remote(0.01)
    refs = [actor.ready.remote() for _ in range(3000)]
    assert all(ray.get(refs))
    ray.get(first)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="inspect.markcoroutinefunction is of Python 3.12")
def test_method_that_is_marked_as_a_coroutine_function_is_awaited(ray):
    class Marked:
        def __init__(self):
            inspect.markcoroutinefunction(Marked.later)  # here: the mark does not travel with a class

        def later(self, give_future):
            if not give_future:
                return 1
            future = asyncio.get_running_loop().create_future()
            future.set_result("awaited")
            return future

        async def ready(self):
            return True

    actor = ray.remote(num_cpus=0)(Marked).remote()
    assert ray.get(actor.later.remote(True)) == "awaited"
    with pytest.raises(TypeError, match="int can't be used in 'await'"):
        ray.get(actor.later.remote(False))
