# _runtime/worker_main.py - what a forked worker does until it ends.
"""Entry point of worker processes."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import pickle
import signal
import sys
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._runtime import (
    actor_host,
    environment,
    generators,
    gpus,
    namespace,
    output,
    unread_errors,
)
from miniray._runtime.error_capture import make_task_error
from miniray._runtime.fault_points import enter_role, fault_point
from miniray._runtime.worker_pools import SETUP_FAILED
from miniray._task_error import safe_text
from miniray.exceptions import SegmentCorruptedError, TaskCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from miniray.exceptions import RayError

_threads_given = "OMP_NUM_THREADS" in os.environ
_NOTE_CHARACTERS = 1900  # death_notes.hpp kNoteBytes


def load_function(payload: bytes) -> tuple[Callable[..., Any], object, int, str]:
    """Return an exported function, what it retries on, its ``max_calls``, and its OMP_NUM_THREADS."""
    function, retry_on, max_calls, threads = pickle.loads(payload)
    if isinstance(function, actor_host.Construct | actor_host.Method | generators.Dynamic | generators.Flat):
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
    if not _threads_given and not environment.sets_threads():
        os.environ["OMP_NUM_THREADS"] = threads


def _print_error() -> None:
    import traceback  # which cloudpickle has imported, where there is one

    traceback.print_exc()


def _flush_output() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _after_call() -> None:
    """Flush output; raise SystemExit when the actor of this process is to end."""
    _flush_output()
    actor_host.leave_if_wanted()


def _enter_environment(number: int, folder: str) -> bool:
    """Make this process one of an environment; when it cannot be, tell those who wait for it, and return False."""
    try:
        environment.enter(number, folder)
    except BaseException as error:
        import traceback

        text = "".join(traceback.format_exception(error)).strip()
        kept = text if len(text) <= _NOTE_CHARACTERS else f"...{text[-_NOTE_CHARACTERS:]}"
        with contextlib.suppress(SegmentCorruptedError):
            core._fail_environment(number, os.getpid(), core._note_death(kept))
            core._session_close()
        return False
    return True


def run(
    config: dict[str, Any], supervisor_pid: int, stdout_fd: int, stderr_fd: int, life_fd: int, environment_number: int
) -> int:
    """Run tasks until told to leave; return the exit code.

    Args:
        config: The session, as the supervisor got it.
        supervisor_pid: The process that this one was forked from.
        stdout_fd: Pipe to the driver for standard output.
        stderr_fd: Pipe to the driver for standard error.
        life_fd: Pipe to the supervisor, which closes when this process ends or calls exec; nothing is written.
        environment_number: What it is started for.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    output.redirect_worker_streams(stdout_fd, stderr_fd)
    namespace.enter(config["namespace"])
    fault_point("worker.unwatched")
    if config["logging"] is not None:
        from miniray._runtime import structured_log  # few ask for it

        structured_log.apply(structured_log.LogSettings(**config["logging"]))
    core._watch_process(config["driver_pid"], config["name"])
    fault_point("worker.watched")
    core._session_adopt_after_fork()
    fault_point("worker.adopted")
    core._enter_environment(environment_number)
    core._set_life(life_fd)
    if os.getppid() != supervisor_pid:  # it died: the next one may have looked for workers before there was this row
        core._session_close()
        return 1
    fault_point("worker.accepted")
    core._set_doorbell(config["doorbell_fd"])
    signal.signal(core._cancel_signal(), _on_interrupt)
    core._repeat_cancel_signal()
    faulthandler.enable(file=2)
    os.register_at_fork(after_in_child=core._session_forget)
    sys.argv = [config["program"]]
    if environment_number and not _enter_environment(environment_number, config["folder"]):
        return SETUP_FAILED
    code = 0
    try:
        core._run_worker(
            load_function,
            _on_error,
            _before_task,
            _after_call,
            unread_errors.tell,
            actor_host.serve,
            config["pool_size"],
        )
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except SegmentCorruptedError:  # the driver's own calls tell it
        code = 1
    except BaseException:
        _print_error()
        code = 1
    try:
        atexit._run_exitfuncs()
        actor_host.drop_instance()
        _flush_output()
    except (OSError, ValueError):
        return code or 1
    return code


def main(
    config: dict[str, Any], supervisor_pid: int, stdout_fd: int, stderr_fd: int, life_fd: int, environment_number: int
) -> None:
    """Run, then end this process without the clean-up that belongs to the supervisor it was forked from."""
    enter_role("worker")
    fault_point("worker.born")
    code = 1
    try:
        code = run(config, supervisor_pid, stdout_fd, stderr_fd, life_fd, environment_number)
    except BaseException:  # before the first task: the error of the calls that wait quotes it
        _print_error()
        _flush_output()
    finally:
        os._exit(code)
