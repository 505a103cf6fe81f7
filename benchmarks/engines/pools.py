"""Pools of processes: multiprocessing, concurrent.futures, loky."""

import contextlib
import importlib
import multiprocessing
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from functools import partial
from typing import Any

from benchmarks.crashes import NO_ANSWER_SECONDS, NoAnswerError, hold_and_compute, seconds_after_kill
from benchmarks.engines.base import Engine, Seconds


class Pool(Engine):
    name = "multiprocessing.Pool"
    imports = "import multiprocessing.pool"
    starts = "pool = multiprocessing.get_context('fork').Pool(2)\nvalue = pool.apply(abs_of, (1,))"
    ends = "pool.terminate()\npool.join()"

    def start(self, workers: int) -> None:
        self.workers = workers
        self.pool = multiprocessing.get_context("fork").Pool(workers)
        self.warm_up()

    def stop(self) -> None:
        self.pool.terminate()
        self.pool.join()

    def submitter(self, function: Callable[..., Any]) -> Callable[..., Any]:
        apply_async = self.pool.apply_async
        return lambda *arguments: apply_async(function, arguments)

    def gather(self, pending: list[Any]) -> list[Any]:
        return [result.get() for result in pending]

    def result(self, pending: Any) -> Any:
        return pending.get()

    def one_by_one(self, function: Callable[..., Any], count: int) -> int:
        return sum(1 for _ in self.pool.imap_unordered(function, range(count)))

    def crash(self, tries_again: bool) -> Seconds:
        def wait(result: Any) -> None:
            try:
                result.get(NO_ANSWER_SECONDS)
            except multiprocessing.TimeoutError as error:
                raise NoAnswerError from error

        return seconds_after_kill(self.submitter(hold_and_compute), wait)


class Futures(Engine):
    """Executors of the standard library's interface; a crash breaks all of one, so a new one has to try again."""

    executor: Any

    def make(self, workers: int) -> Any:
        """Return a new executor."""
        raise NotImplementedError

    def start(self, workers: int) -> None:
        self.workers = workers
        self.executor = self.make(workers)
        self.warm_up()

    def stop(self) -> None:
        self.executor.shutdown()

    def submitter(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return partial(self.executor.submit, function)

    def gather(self, pending: list[Any]) -> list[Any]:
        return [future.result() for future in pending]

    def result(self, pending: Any) -> Any:
        return pending.result()

    def one_by_one(self, function: Callable[..., Any], count: int) -> int:
        submit = self.submitter(function)
        return sum(1 for _ in as_completed([submit(i) for i in range(count)]))

    def crash(self, tries_again: bool) -> Seconds:
        submitted: tuple[Any, ...] = ()

        def submit(*arguments: Any) -> Any:
            nonlocal submitted
            submitted = arguments
            return self.executor.submit(hold_and_compute, *arguments)

        def wait(future: Any) -> None:
            with contextlib.suppress(BrokenExecutor):
                raise AssertionError(f"a result of a killed worker: {future.result()}")
            if tries_again:
                self.executor = self.make(self.workers)
                assert self.executor.submit(hold_and_compute, *submitted).result() == "again"

        seconds = seconds_after_kill(submit, wait)
        self.stop()
        self.start(self.workers)
        return seconds


class Executor(Futures):
    name = "ProcessPoolExecutor"
    imports = "from concurrent.futures import ProcessPoolExecutor"
    starts = "executor = ProcessPoolExecutor(2)\nvalue = executor.submit(abs_of, 1).result()"
    ends = "executor.shutdown()"

    def make(self, workers: int) -> Any:
        return ProcessPoolExecutor(workers)


class Loky(Futures):
    name = "loky"
    module = "loky"
    imports = "import loky"
    starts = "executor = loky.get_reusable_executor(2)\nvalue = executor.submit(abs_of, 1).result()"
    ends = "executor.shutdown()"

    def make(self, workers: int) -> Any:
        return importlib.import_module("loky").get_reusable_executor(max_workers=workers, timeout=None)
