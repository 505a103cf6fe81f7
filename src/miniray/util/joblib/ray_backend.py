# util/joblib/ray_backend.py - joblib's interface of backends, on util.multiprocessing.Pool.
#
# Invariants  B1 a pool serves one Parallel, or the block of a `with Parallel()`; then it waits for the next
#                (spare_pool.py). One whose work was given up is killed.
# Source      joblib's _parallel_backends.py, the classes that it offers to backends; Ray 2.60.0,
#             python/ray/util/joblib/ray_backend.py, for parameters.
"""The joblib backend."""

from __future__ import annotations

from typing import Any

from joblib._parallel_backends import FallbackToBackend, MultiprocessingBackend, SequentialBackend
from joblib.parallel import BatchedCalls

import miniray
from miniray._runtime.observation import observe_session
from miniray.util.joblib import spare_pool
from miniray.util.joblib.shared_arguments import ArgumentStore, SharedBatch
from miniray.util.multiprocessing import Pool

__all__ = ["RayBackend"]


class RayBackend(MultiprocessingBackend):  # type: ignore[misc]
    """Runs joblib's calls in actors. Arrays and other large arguments are stored once, and read without a copy.

    Args:
        nesting_level: Of joblib.
        inner_max_num_threads: Threads that numeric libraries may use in each process; None: one.
        ray_remote_args: Options of the actors: ``num_cpus`` (default 0), ``resources``, ...
        **kwargs: More for joblib.
    """

    supports_inner_max_num_threads = True

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Make the backend; see the class."""
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads, **kwargs)
        self.ray_remote_args = ray_remote_args
        self._arguments = ArgumentStore()
        self._pool: Pool | None = None
        self._pool_key: object = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many calls run at a time.

        Args:
            n_jobs: As the user wrote it; -1: as many as the session has CPUs, -2: one less, ...; None: 1.

        Raises:
            ValueError: 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        cpus = _cpu_count()
        return max(cpus + 1 + n_jobs, 1) if n_jobs < 0 else min(n_jobs, max(cpus, 1))

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        **memmappingpool_args: Any,
    ) -> int:
        """Start the processes; return how many.

        Args:
            n_jobs: As the user wrote it.
            parallel: The Parallel that will use them.
            prefer: Accepted as in joblib.
            require: Accepted as in joblib.
            ray_remote_args: Options of the actors; wins over those of the backend.
            **memmappingpool_args: How other backends map files; accepted and not needed.
        """
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        environment = self._prepare_worker_env(n_jobs) if self.inner_max_num_threads else {}
        remote_args = ray_remote_args or self.ray_remote_args or {}
        self._pool_key = observe_session(None).name, n_jobs, environment, remote_args
        self._pool = spare_pool.take(self._pool_key) or Pool(
            n_jobs, initializer=_set_environment, initargs=(environment,), ray_remote_args=remote_args
        )
        self.parallel = parallel
        return n_jobs

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Hand over a batch of calls.

        Args:
            func: The batch.
            callback: Gets its result, in a thread of the pool.
        """
        shared = SharedBatch(func, self._arguments) if isinstance(func, BatchedCalls) else func
        return super().submit(shared, callback)

    def terminate(self) -> None:
        """Let go of the processes; the next Parallel finds them warm."""
        pool, self._pool = self._pool, None
        if pool is not None:
            spare_pool.keep(self._pool_key, pool)
        self._arguments.clear()
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Kill the processes, with what they do.

        Args:
            ensure_ready: Whether to start others.
        """
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()
        super().abort_everything(ensure_ready)


def _cpu_count() -> int:
    if not miniray.is_initialized():
        miniray.init()
    return int(observe_session(None).resources["CPU"][0])


def _set_environment(variables: dict[str, str]) -> None:
    import os

    os.environ.update(variables)
