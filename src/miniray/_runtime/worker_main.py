# _runtime/worker_main.py - what a forked worker does until it ends.
"""Entry point of worker processes."""

from __future__ import annotations

import atexit
import faulthandler
import os
import pickle
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._runtime import actor_host, gpus, namespace, output, structured_log
from miniray._runtime.error_capture import make_task_error
from miniray._runtime.fault_points import enter_role, fault_point
from miniray._task_error import safe_text
from miniray.exceptions import SegmentCorruptedError, TaskCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from miniray.exceptions import RayError

_threads_given = "OMP_NUM_THREADS" in os.environ


def load_function(payload: bytes) -> tuple[Callable[..., Any], object, int, str]:
    """Return an exported function, what it retries on, its ``max_calls``, and its OMP_NUM_THREADS."""
    function, retry_on, max_calls, threads = pickle.loads(payload)
    if isinstance(function, actor_host.Construct | actor_host.Method):
        function = function.resolve()
    return function, retry_on, max_calls, threads


def _on_error(name: str, error: BaseException, is_dependency: bool) -> RayError:
    if isinstance(error, KeyboardInterrupt):
        return TaskCancelledError()
    failed = make_task_error(name, error)
    if is_dependency:
        failed.traceback_str = (
            "Traceback (most recent call last):\n"  # str() puts the task and its process in the place of this line
            f"  At least one of the input arguments for this task could not be computed:\n{safe_text(error)}"
        )
    return failed


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    """Answer the signal of a canceller; it may come too late, for a task that has ended."""
    if core._is_cancel_due():
        raise KeyboardInterrupt


def _before_task(threads: str, held_gpus: int) -> None:
    """Tell numeric libraries how many threads a task may use, unless the user has; and which GPUs."""
    gpus.show(held_gpus)
    if not _threads_given:
        os.environ["OMP_NUM_THREADS"] = threads


def _on_unread_error(error: BaseException) -> None:
    """Print an error that nobody has a ref to any more; the driver shows it."""
    if os.environ.get("RAY_IGNORE_UNHANDLED_ERRORS") != "1":
        sys.stderr.write(f"Unhandled error (suppress with 'RAY_IGNORE_UNHANDLED_ERRORS=1'): {error}\n")
        sys.stderr.flush()


def _flush_output() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _after_call() -> None:
    """Flush output; raise SystemExit when the actor of this process is to end."""
    _flush_output()
    actor_host.leave_if_wanted()


def run(config: dict[str, Any], supervisor_pid: int, stdout_fd: int, stderr_fd: int, life_fd: int) -> int:
    """Run tasks until told to leave; return the exit code.

    Args:
        config: The session, as the supervisor got it.
        supervisor_pid: The process that this one was forked from.
        stdout_fd: Pipe to the driver for standard output.
        stderr_fd: Pipe to the driver for standard error.
        life_fd: Pipe to the supervisor, which closes when this process ends or calls exec; nothing is written.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    output.redirect_worker_streams(stdout_fd, stderr_fd)
    namespace.enter(config["namespace"])
    fault_point("worker.unwatched")
    if config["logging"] is not None:
        structured_log.apply(structured_log.LogSettings(**config["logging"]), config["name"])
    core._watch_process(config["driver_pid"], config["name"])
    fault_point("worker.watched")
    core._session_adopt_after_fork()
    fault_point("worker.adopted")
    core._set_life(life_fd)
    if os.getppid() != supervisor_pid:  # it died: the next one may have looked for workers before there was this row
        core._session_close()
        return 1
    fault_point("worker.accepted")
    core._set_doorbell(config["doorbell_fd"])
    signal.signal(core._cancel_signal(), _on_interrupt)
    faulthandler.enable(file=2)
    os.register_at_fork(after_in_child=core._session_forget)
    sys.argv = [config["program"]]
    code = 0
    try:
        core._run_worker(
            load_function,
            _on_error,
            _before_task,
            _after_call,
            _on_unread_error,
            actor_host.serve,
            config["pool_size"],
        )
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except SegmentCorruptedError:  # the driver's own calls tell it
        code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        atexit._run_exitfuncs()
        actor_host.drop_instance()
        _flush_output()
    except (OSError, ValueError):
        return code or 1
    return code


def main(config: dict[str, Any], supervisor_pid: int, stdout_fd: int, stderr_fd: int, life_fd: int) -> None:
    """Run, then end this process without the clean-up that belongs to the supervisor it was forked from."""
    enter_role("worker")
    fault_point("worker.born")
    code = 1
    try:
        code = run(config, supervisor_pid, stdout_fd, stderr_fd, life_fd)
    except BaseException:  # before the first task: the error of the calls that wait quotes it
        traceback.print_exc()
        _flush_output()
    finally:
        os._exit(code)
