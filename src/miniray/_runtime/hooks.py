# _runtime/hooks.py - what the core asks Python for: the rare kinds of pickling, and the errors people see.
#
# Invariants  K1 install() is called once per process, before the first session.
#             K2 nothing here is on the path of a call whose values the native encoding or plain pickle takes.
"""Callables that the core needs for what is rare."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any, NoReturn

from miniray import _miniray_core as core
from miniray._runtime import awaiting, closures, output, reducers, unread_errors
from miniray._runtime.worker_life import MEMORY_CAUSE, MEMORY_CAUSE_FOR_GOOD, UNKNOWN_END, describe_end, signal_name
from miniray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    ActorUnschedulableError,
    GetTimeoutError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RaySystemError,
    RayTaskError,
    RuntimeEnvSetupError,
    TaskCancelledError,
    TaskPlacementGroupRemoved,
    TaskUnschedulableError,
    WorkerCrashedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_NO_WORKER = 1  # scheduler.hpp DeathCause
_CANCELLED = 4
_NO_ENVIRONMENT = 5
_GROUP_REMOVED = 6
_NO_SUCH_NODE = 7
_ENVIRONMENT_FAILED = 7  # actor_entry.hpp ActorEnd
_UNAVAILABLE = 5  # actor_entry.hpp ActorEnd
_ACTOR_GROUP_REMOVED = 8
_ACTOR_NO_SUCH_NODE = 10
_NODE_TEXT = (
    "The node specified via NodeAffinitySchedulingStrategy doesn't exist any more or is infeasible, and soft=False was "
    "specified. A session of miniray has one node, get_runtime_context().get_node_id(); give that id, or soft=True."
)
_GROUP_TEXT = "Could not create the actor because its associated placement group was removed."
_ACTOR_ENDS = {
    1: "The actor is dead because it was killed by `ray.kill`.",
    2: "The actor is dead because exit_actor() was called, or SystemExit was raised in it.",
    3: "The actor is dead because all references to it went out of scope.",
    4: "The actor is dead because its __init__ failed.",
    6: "The actor is dead because its owner has died: the process that made it.",
    9: "The actor is dead because its placement group was removed.",
}


def dumps_slow(value: Any, buffer_callback: Callable[[pickle.PickleBuffer], object], what: str) -> bytes:
    """Pickle with cloudpickle what pickle refuses, or what only ``__main__`` of this process knows by name.

    Args:
        value: The value.
        buffer_callback: Gets each out-of-band buffer.
        what: What the value is to the caller, for the error: ``"argument"``, ``"put value"``.

    Raises:
        TypeError: The value cannot be pickled; the text says which part. Other errors of a pickler pass as they are.
    """
    try:
        return closures.dumps(value, buffer_callback)
    except (TypeError, pickle.PicklingError) as error:
        from miniray._runtime.pickle_trace import explain

        raise TypeError(
            f"Could not serialize the {what} {_short_repr(value)}: {error}.\n{explain(value)}\n"
            "Values are copied between processes, so locks, sockets, open files, threads and the like cannot travel: "
            "create them inside the task, or define __reduce__ on the class that holds them."
        ) from error


def _short_repr(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:
        return f"<{type(value).__qualname__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= 200 else text[:200] + "..."


def crash_error(name: str, pid: int, status: int, attempts: int, cause: int, note: str | None) -> RayError:
    """Return the error for a task whose worker died, or that got none.

    Args:
        name: Name of the task, empty when there was no room to keep it.
        pid: The process that died.
        status: Its exit code, minus the signal, or ``UNKNOWN_END``.
        attempts: How often the task was started.
        cause: scheduler.hpp DeathCause.
        note: What who ended it, or saw it end, has to say.
    """
    if cause == _NO_ENVIRONMENT:
        return RuntimeEnvSetupError(note or "Newer messages took the place of the details.")
    if cause == _CANCELLED:
        return TaskCancelledError(error_message=f"The task '{name}' was cancelled.")
    if cause == _GROUP_REMOVED:
        return TaskPlacementGroupRemoved()
    if cause == _NO_SUCH_NODE:
        return TaskUnschedulableError(f"{_NODE_TEXT} The task is '{name}'.")
    tail, report = output.tail_of(pid)
    if cause == _NO_WORKER:
        text = f"the task '{name}' did not run: {note or 'no worker can be started'}."
        if tail or report:
            text += "\nLast output of that process:\n" + "\n".join(filter(None, (tail, report)))
        return RaySystemError(f"{text}\nPut right what it says; the next call tries to start a worker again.")
    if cause in (MEMORY_CAUSE, MEMORY_CAUSE_FOR_GOOD):
        return OutOfMemoryError(
            f"The task '{name}' (pid {pid}) was ended because memory ran short, after {attempts} "
            f"attempt{'' if attempts == 1 else 's'}. {note or 'Newer messages took the place of the details.'}\n"
            "Use less memory per task, run fewer at a time (num_cpus, or memory= in the decorator), or give the "
            "program more. RAY_task_oom_retries says how often a task is tried again, RAY_memory_usage_threshold=0.98 "
            "ends workers later, RAY_memory_monitor_refresh_ms=0 never."
        )
    return WorkerCrashedError(
        task_name=name or None,
        pid=pid,
        exit_code=status if 0 <= status != UNKNOWN_END else None,
        signal=signal_name(-status) if status < 0 else None,
        attempts=attempts,
        output_tail=tail,
        reason=note,
        fault_report=report,
    )


def actor_error(actor_id: str, end: int, pid: int, status: int, note: str, error: RayError | None) -> RayError:
    """Return the error of a call that an actor will not answer.

    Args:
        actor_id: In hex.
        end: ActorEnd of scheduler/actor_entry.hpp.
        pid: Of its process.
        status: Exit code, or minus the signal.
        note: Of the supervisor, about the end.
        error: What ``__init__`` raised, or None.
    """
    if end == _ENVIRONMENT_FAILED:
        text = "Could not create the actor because its associated runtime env failed to be created."
        return RuntimeEnvSetupError(f"{text}\n{note}".rstrip())
    if end == _UNAVAILABLE:
        return ActorUnavailableError("its process died and it is being started again", bytes.fromhex(actor_id))
    if end in (_ACTOR_GROUP_REMOVED, _ACTOR_NO_SUCH_NODE):
        return ActorUnschedulableError(_NODE_TEXT if end == _ACTOR_NO_SUCH_NODE else _GROUP_TEXT)
    if error is not None:
        if isinstance(error, RayTaskError):
            error._actor_id = actor_id
            return ActorDiedError(error)
        died = ActorDiedError(f"its __init__ failed: {error}")
    elif end == 0:
        died = ActorDiedError(f"Its process (pid {pid}) {note or describe_end(status)}.")
    else:
        died = ActorDiedError(_ACTOR_ENDS[end])
    died.actor_id = actor_id
    return died


def raise_error(error: BaseException) -> NoReturn:
    """Raise a stored error the way its reader sees it."""
    try:
        if isinstance(error, RayTaskError):
            raise error.as_instanceof_cause()
        raise error
    finally:
        # The traceback keeps this frame, and the frame would keep the error: a cycle that holds on to all that frames
        # of the callers hold, such as handles of actors, until the garbage collector comes by.
        del error


def store_full(reason: str, needed: int, used: int, capacity: int, system_error: int) -> RayError:
    """Return the error for an object that found no room.

    Args:
        reason: ``"too large"`` for the store, ``"full"`` (nothing may be spilled), ``"spill limit"``, ``"disk"``,
            ``"result"`` (of a task); else a text about what else is short.
        needed: Bytes of the object.
        used: Bytes in use.
        capacity: Bytes of the store.
        system_error: Minus errno of the call that failed, or 0.
    """
    from miniray._runtime import store_errors

    return store_errors.make(reason, needed, used, capacity, system_error)


def lost_error(ref: core.ObjectRef[Any], reason: str) -> ObjectLostError:
    """Return the error for an object that exists no more, or (``reason`` "damaged") whose spilled bytes changed."""
    if reason == "damaged":
        from miniray._runtime import store_errors

        return store_errors.DamagedObjectError(ref.hex(), None, "")
    return ObjectLostError(ref.hex(), None, "")


def unpickle_error(error: BaseException) -> RaySystemError:
    """Return the error for a value that cannot be rebuilt in this process."""
    import traceback

    text = "".join(traceback.format_exception(error))
    told = RaySystemError(f"a value cannot be unpickled here: {error}", text)
    told.__cause__ = error
    return told


def _choose_dumps() -> Callable[..., bytes]:
    if os.environ.get("RAY_ENABLE_ZERO_COPY_TORCH_TENSORS") != "1":
        return pickle.dumps
    from miniray._runtime import torch_tensors

    return torch_tensors.dumps


_installed: dict[str, Any] = {}


def install(auto_init: Callable[[], object], task_id: Callable[[int], object]) -> None:
    """Give the core its hooks.

    Args:
        auto_init: Starts a session when a call needs one.
        task_id: Gives the id of a task by its number.
    """
    _installed.update(
        dumps_slow=dumps_slow,
        loads=pickle.loads,
        dumps=_choose_dumps(),
        crash_error=crash_error,
        raise_error=raise_error,
        ray_error=RayError,
        timeout_error=GetTimeoutError,
        store_full=store_full,
        lost_error=lost_error,
        auto_init=auto_init,
        unpickle_error=unpickle_error,
        unread_error=unread_errors.tell,
        actor_error=actor_error,
        awaiting=awaiting.awaiting,
        future=awaiting.future,
        as_future=awaiting.as_future,
        task_id=task_id,
    )
    core._configure_hooks(**_installed)


def register_reducer(cls: type, reduce: Callable[[Any], Any]) -> None:
    """Pickle instances of a class in values of this process by a function of the user's.

    Args:
        cls: The class.
        reduce: Returns what ``__reduce__`` would.
    """
    reducers.registered[cls] = reduce
    shares_tensors = _installed["dumps"] is not pickle.dumps
    core._configure_hooks(**{**_installed, "dumps": _dumps_both if shares_tensors else reducers.dumps})


def _dumps_both(value: Any, protocol: int | None = None, **keywords: Any) -> bytes:
    from miniray._runtime import torch_tensors

    torch_tensors.prepare()
    return reducers.dumps(value, protocol, **keywords)


def deregister_reducer(cls: type) -> None:
    """Undo that; does nothing for a class that was not registered."""
    reducers.registered.pop(cls, None)
    if not reducers.registered:
        core._configure_hooks(**_installed)
