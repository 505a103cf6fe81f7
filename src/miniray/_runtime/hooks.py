# _runtime/hooks.py - what the core asks Python for: the rare kinds of pickling, and the errors people see.
#
# Invariants  K1 install() is called once per process, before the first session.
#             K2 nothing here is on the path of a call whose values the native encoding or plain pickle takes.
"""Callables that the core needs for what is rare."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from miniray import _miniray_core as core
from miniray._runtime import closures, output, store_errors, torch_tensors
from miniray._runtime.pickle_trace import explain
from miniray.exceptions import (
    GetTimeoutError,
    ObjectLostError,
    RayError,
    RaySystemError,
    RayTaskError,
    WorkerCrashedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_UNKNOWN_END = 0x7FFFFFFF  # scheduler.hpp kUnknownEnd


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


def crash_error(name: str, pid: int, status: int, attempts: int) -> WorkerCrashedError:
    """Return the error for a task whose worker died."""
    signal_name = exit_code = None
    if status < 0:
        try:
            signal_name = signal.Signals(-status).name
        except ValueError:
            signal_name = f"signal {-status}"
    elif status != _UNKNOWN_END:
        exit_code = status
    return WorkerCrashedError(
        task_name=name or None,
        pid=pid,
        exit_code=exit_code,
        signal=signal_name,
        attempts=attempts,
        output_tail=output.tail_of(pid),
    )


def raise_error(error: BaseException) -> NoReturn:
    """Raise a stored error the way its reader sees it."""
    if isinstance(error, RayTaskError):
        raise error.as_instanceof_cause()
    raise error


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
    return store_errors.make(reason, needed, used, capacity, system_error)


def lost_error(ref: core.ObjectRef[Any], reason: str) -> ObjectLostError:
    """Return the error for an object that exists no more, or (``reason`` "damaged") whose spilled bytes changed."""
    if reason == "damaged":
        return store_errors.DamagedObjectError(ref.hex(), None, "")
    return ObjectLostError(ref.hex(), None, "")


def unpickle_error(error: BaseException) -> RaySystemError:
    """Return the error for a value that cannot be rebuilt in this process."""
    text = "".join(traceback.format_exception(error))
    told = RaySystemError(f"a value cannot be unpickled here: {error}", text)
    told.__cause__ = error
    return told


def unread_error(error: BaseException) -> None:
    """Log an error whose last ref went before anybody read it."""
    if os.environ.get("RAY_IGNORE_UNHANDLED_ERRORS") != "1":
        sys.stderr.write(f"Unhandled error (suppress with 'RAY_IGNORE_UNHANDLED_ERRORS=1'): {error}\n")


def install(auto_init: Callable[[], object]) -> None:
    """Give the core its hooks; ``auto_init`` starts a session when a call needs one."""
    share_tensors = os.environ.get("RAY_ENABLE_ZERO_COPY_TORCH_TENSORS") == "1"
    core._configure_hooks(
        dumps_slow=dumps_slow,
        loads=pickle.loads,
        dumps=torch_tensors.dumps if share_tensors else pickle.dumps,
        crash_error=crash_error,
        raise_error=raise_error,
        ray_error=RayError,
        timeout_error=GetTimeoutError,
        store_full=store_full,
        lost_error=lost_error,
        auto_init=auto_init,
        unpickle_error=unpickle_error,
        unread_error=unread_error,
    )
