# exceptions.py - every public error of miniray.
#
# Invariants  X1 a leaf: only _task_error.py and _own_errors.py are below it, so every other module may import this one.
#             X2 names, bases and parameters equal those of ray.exceptions in Ray 2.60.0, checked against
#                tests/unit/data/ray_exceptions.json; the errors of miniray alone stand apart in _own_errors.py.
#             X3 facts are attributes, and each error survives pickle with them (_task_error.py, T1).
#             X4 str() of an error says what failed (names, numbers), the likely cause and the next step.
# Source      Ray 2.60.0, python/ray/exceptions.py, for names and for texts that users match.
"""Errors of miniray: those of Ray under the same names, and four of miniray alone."""

from __future__ import annotations

from typing import ClassVar

from miniray._own_errors import (
    ForkedProcessError,
    SegmentCorruptedError,
    UnsupportedFeatureError,
    VersionMismatchError,
)
from miniray._task_error import RayError, RayTaskError, UnserializableException

__all__ = [
    "ActorAlreadyExistsError", "ActorDiedError", "ActorHandleNotFoundError", "ActorPlacementGroupRemoved",
    "ActorUnavailableError", "ActorUnschedulableError", "AsyncioActorExit", "AuthenticationError", "CrossLanguageError",
    "ForkedProcessError", "GetTimeoutError", "LocalRayletDiedError", "NodeDiedError", "ObjectFetchTimedOutError",
    "ObjectFreedError", "ObjectLostError", "ObjectReconstructionFailedError", "ObjectRefStreamEndOfStreamError",
    "ObjectStoreFullError", "OufOfBandObjectRefSerializationException", "OutOfDiskError", "OutOfMemoryError",
    "OwnerDiedError", "PendingCallsLimitExceeded", "PlasmaObjectNotAvailable", "RayActorError",
    "RayCgraphCapacityExceeded", "RayChannelError", "RayChannelTimeoutError", "RayDirectTransportError", "RayError",
    "RaySystemError", "RayTaskError", "ReferenceCountingAssertionError", "RpcError", "RuntimeEnvSetupError",
    "SegmentCorruptedError", "StreamingGeneratorReplayInconsistentError", "TaskCancelledError",
    "TaskPlacementGroupRemoved", "TaskUnschedulableError", "UnserializableException", "UnsupportedFeatureError",
    "UserCodeException", "VersionMismatchError", "WorkerCrashedError",
]  # fmt: skip


# Tasks and workers ----------------------------------------------------------------------------------------------------


class TaskCancelledError(RayError):
    """The task was cancelled."""

    def __init__(self, task_id: object = None, error_message: str | None = None) -> None:
        """Keep the id of the task that was cancelled, and why."""
        self.task_id = task_id
        self.error_message = error_message

    def _text(self) -> str:
        task = f"Task: {self.task_id} was cancelled. " if self.task_id else ""
        return (task + (self.error_message or "")) or "The task was cancelled."


class UserCodeException(RayError):
    """An exception in user code, wrapped by a library; ``retry_exceptions`` looks at its cause."""


class WorkerCrashedError(RayError):
    """The worker died while it executed a task, and no retry was left.

    Args:
        args: A text to show in place of the one made from the facts.
        task_name: The task that ran.
        pid: The process that died.
        exit_code: Its exit status, if it exited.
        signal: Name of the signal that killed it, such as ``"SIGKILL"``.
        attempts: How often the task was started.
        output_tail: The last lines that the process printed.
        reason: Why it was ended, where that is known: the kernel's killer for memory, ``exec``.
        fault_report: Where native code crashed: the report of ``faulthandler``.
    """

    _CAUSES: ClassVar[dict[str, str]] = {
        "SIGKILL": "Likely causes: the kernel's out-of-memory killer (see dmesg), or another program. ",
        "SIGSEGV": "Likely cause: a fault in native code. ",
        "SIGBUS": "Likely cause: a mapped file that shrank or a full file system. ",
        "SIGABRT": "Likely cause: native code called abort(); its message is in the output. ",
    }

    def __init__(
        self,
        *args: object,
        task_name: str | None = None,
        pid: int | None = None,
        exit_code: int | None = None,
        signal: str | None = None,
        attempts: int | None = None,
        output_tail: str | None = None,
        reason: str | None = None,
        fault_report: str | None = None,
    ) -> None:
        """Keep the facts; see the class."""
        super().__init__(*args)
        self.task_name = task_name
        self.pid = pid
        self.exit_code = exit_code
        self.signal = signal
        self.attempts = attempts
        self.output_tail = output_tail
        self.reason = reason
        self.fault_report = fault_report

    def _text(self) -> str:
        if self.args:
            return super()._text()
        text = "The worker died unexpectedly while executing "
        text += "this task" if self.task_name is None else f"task '{self.task_name}'"
        text += "" if self.pid is None else f" (pid {self.pid})"
        if self.signal is not None:
            text += f": killed by {self.signal}"
        elif self.exit_code is not None:
            text += f": exited with status {self.exit_code}"
        if self.attempts is not None:
            text += f", after {self.attempts} attempt{'' if self.attempts == 1 else 's'}"
        text += ". "
        if self.reason is not None:
            text += f"Reason: {self.reason}. "
        if self.output_tail and self.output_tail.strip():
            text += f"Last output:\n{self.output_tail.rstrip()}\n"
        if self.fault_report is not None:
            text += f"Where it crashed:\n{self.fault_report.rstrip()}\n"
        if self.reason is None:
            text += self._CAUSES.get(self.signal or "", "")
        if self.signal is None and self.exit_code is not None:
            text += "Likely cause: the task called sys.exit() or os._exit(), or native code did. "
        return text + "See the worker's output; max_retries sets how often a task is started again."


# Actor errors ---------------------------------------------------------------------------------------------------------


class RayActorError(RayError):
    """The actor died or cannot be reached before it finished a call.

    Args:
        actor_id: Id of the actor in hex.
        error_msg: The whole message.
        actor_init_failed: Whether the actor failed in its ``__init__``.
        preempted: Whether its machine was taken away; never so in miniray.
    """

    BASE_ERROR_MSG: ClassVar[str] = "The actor experienced an error before finishing this task."

    def __init__(
        self,
        actor_id: str | None = None,
        error_msg: str = BASE_ERROR_MSG,
        actor_init_failed: bool = False,
        preempted: bool = False,
    ) -> None:
        """Keep the facts; see the class."""
        self.actor_id = actor_id
        self.error_msg = error_msg
        self._actor_init_failed = actor_init_failed
        self._preempted = preempted

    def _text(self) -> str:
        return self.error_msg

    @property
    def preempted(self) -> bool:
        """Whether the actor's machine was taken away."""
        return self._preempted

    @property
    def actor_init_failed(self) -> bool:
        """Whether the actor failed in its ``__init__``."""
        return self._actor_init_failed


class ActorDiedError(RayActorError):
    """The actor died before it finished a call, or was dead when it was called.

    Args:
        cause: The RayTaskError of an ``__init__`` that failed, or a text that tells how the process ended.
    """

    BASE_ERROR_MSG: ClassVar[str] = "The actor died unexpectedly before finishing this task."

    def __init__(self, cause: RayTaskError | str | None = None) -> None:
        """Make the message from the cause."""
        if isinstance(cause, RayTaskError):
            message = f"The actor died because of an error raised in its creation task, {cause}"
            super().__init__(cause._actor_id, message, actor_init_failed=True)
        else:
            super().__init__(None, f"{self.BASE_ERROR_MSG}\n{cause}" if cause else self.BASE_ERROR_MSG)

    @staticmethod
    def from_task_error(task_error: RayTaskError) -> ActorDiedError:
        """Return the error of an actor whose ``__init__`` raised."""
        return ActorDiedError(task_error)


class ActorUnavailableError(RayActorError):
    """The actor cannot be reached now but may be later."""

    def __init__(self, error_message: str, actor_id: bytes | None) -> None:
        """Make the message from the reason and the id."""
        name = None if actor_id is None else actor_id.hex()
        super().__init__(name, f"The actor {name} is unavailable: {error_message}. The task may or may not have been "
                               "executed on the actor.")  # fmt: skip


class ActorAlreadyExistsError(ValueError, RayError):
    """An actor with this name lives already in the namespace."""

    def __init__(self, error_message: str) -> None:
        """Keep the message."""
        super().__init__(error_message)
        self.error_message = error_message


class ActorHandleNotFoundError(ValueError, RayError):
    """The handle belongs to no actor of this session, mostly to one of an earlier session."""

    def __init__(self, error_message: str) -> None:
        """Keep the message."""
        super().__init__(error_message)
        self.error_message = error_message


class ActorUnschedulableError(RayError):
    """The actor can never be placed."""

    def __init__(self, error_message: str) -> None:
        """Keep the reason."""
        self.error_message = error_message

    def _text(self) -> str:
        return f"The actor is not schedulable: {self.error_message}"


class ActorPlacementGroupRemoved(RayError):
    """The placement group of the actor was removed."""

    def _text(self) -> str:
        return "The placement group corresponding to this Actor has been removed."


class PendingCallsLimitExceeded(RayError):
    """A handle has ``max_pending_calls`` calls that the actor has not finished."""


class AsyncioActorExit(RayError):
    """An async actor left through ``exit_actor()``."""


# Task and system errors -----------------------------------------------------------------------------------------------


class TaskUnschedulableError(RayError):
    """The task can never be placed."""

    def __init__(self, error_message: str) -> None:
        """Keep the reason."""
        self.error_message = error_message

    def _text(self) -> str:
        return f"The task is not schedulable: {self.error_message}"


class TaskPlacementGroupRemoved(RayError):
    """The placement group of the task was removed."""

    def _text(self) -> str:
        return "The placement group corresponding to this task has been removed."


class RuntimeEnvSetupError(RayError):
    """The runtime environment of a task or actor could not be made."""

    def __init__(self, error_message: str | None = None) -> None:
        """Keep the reason."""
        self.error_message = error_message

    def _text(self) -> str:
        return "\n".join(["Failed to set up runtime environment.", *filter(None, [self.error_message])])


class GetTimeoutError(RayError, TimeoutError):
    """``get`` found no value within its timeout; the refs stay usable."""


class OutOfMemoryError(RayError):
    """A worker was ended because the machine ran short of memory."""

    def __init__(self, message: str) -> None:
        """Keep the message, which names the sizes of all workers."""
        self.message = message

    def _text(self) -> str:
        return self.message


class RaySystemError(RayError):
    """The runtime itself failed, not the user's code.

    Args:
        client_exc: What failed.
        traceback_str: The traceback of it, if there is one.
    """

    def __init__(self, client_exc: object, traceback_str: str | None = None) -> None:
        """Keep the facts; see the class."""
        self.client_exc = client_exc
        self.traceback_str = traceback_str

    def _text(self) -> str:
        trace = f"\ntraceback: {self.traceback_str}" if self.traceback_str else ""
        return f"System error: {self.client_exc}{trace}"


# Object errors --------------------------------------------------------------------------------------------------------


class ObjectStoreFullError(RayError):
    """The object store has no room for an object, and nothing that may be dropped.

    Args:
        args: A text to show in place of the one made from the facts.
        needed_for: What the room was for, such as ``"the result of 'simulate'"``.
        needed_bytes: Size of the object.
        free_bytes: Bytes that were free.
        capacity_bytes: Size of the store.
        pinned_bytes: Bytes that refs, views and running tasks keep.
    """

    def __init__(
        self,
        *args: object,
        needed_for: str | None = None,
        needed_bytes: int | None = None,
        free_bytes: int | None = None,
        capacity_bytes: int | None = None,
        pinned_bytes: int | None = None,
    ) -> None:
        """Keep the facts; see the class."""
        super().__init__(*args)
        self.needed_for = needed_for
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes
        self.capacity_bytes = capacity_bytes
        self.pinned_bytes = pinned_bytes

    def _text(self) -> str:
        if self.args and self.needed_bytes is not None:
            return super()._text()  # made from the facts already
        parts = [super()._text()] if self.args else []
        if self.needed_bytes is not None or self.needed_for is not None:
            amount = "Room" if self.needed_bytes is None else _format_bytes(self.needed_bytes)
            parts.append(f"{amount} needed for {self.needed_for or 'an object'}")
        if self.free_bytes is not None:
            size = "" if self.capacity_bytes is None else f" of {_format_bytes(self.capacity_bytes)}"
            parts.append(f"{_format_bytes(self.free_bytes)}{size} free")
        if self.pinned_bytes is not None:
            parts.append(f"{_format_bytes(self.pinned_bytes)} pinned")
        return (
            (", ".join(parts) + ".\n" if parts else "")
            + "The local object store is full of objects that are still in scope and cannot be evicted. "
            "Drop ObjectRefs and arrays that are not needed, or raise init(object_store_memory=...)."
        )


class OutOfDiskError(RayError):
    """The object store is full, and so is the disk that objects are spilled to."""

    def _text(self) -> str:
        return super()._text() + (
            "\nThe object cannot be created because the local object store is full, and so is the disk that it spills "
            "to, or its share of it. Free space there (df shows it), name a larger disk in "
            "init(object_spilling_directory=...), or raise init(object_spilling_limit=...) or object_store_memory."
        )


class ObjectLostError(RayError):
    """The value of an object is gone.

    Args:
        object_ref_hex: Id of the object.
        owner_address: Where its creator ran, if known.
        call_site: Where in the program the ref was made; ``|`` separates lines.
    """

    def __init__(self, object_ref_hex: str, owner_address: object, call_site: str) -> None:
        """Keep the facts; see the class."""
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        self.call_site = call_site.replace("|", "\n  ")

    def _text(self) -> str:
        text = f"Failed to retrieve object {self.object_ref_hex}. "
        if self.call_site:
            text += f"The ObjectRef was created at: {self.call_site}"
        else:
            text += "To see where refs are created, set the environment variable RAY_record_ref_creation_sites=1."
        return f"{text}\n\n{self._reason()}"

    def _reason(self) -> str:
        return f"All copies of {self.object_ref_hex} have been lost. Run the task that made it again."


class ObjectFetchTimedOutError(ObjectLostError):
    """An object could not be fetched in time; for ``except`` only, miniray never raises it."""

    def _reason(self) -> str:
        return f"Fetch for object {self.object_ref_hex} timed out because no locations were found for the object."


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """An object was deleted while a ref to it was left."""

    def _reason(self) -> str:
        return (
            "The object has already been deleted by the reference counting protocol. This should not happen: please "
            "report it."
        )


class ObjectFreedError(ObjectLostError):
    """The program freed the object by hand."""

    def _reason(self) -> str:
        return (
            "The object was manually freed using the internal `free` call. Please ensure that `free` is only called "
            "once the object is no longer needed."
        )


class OwnerDiedError(ObjectLostError):
    """The process that made the object died before the value was there."""

    def _reason(self) -> str:
        where = f" ({self.owner_address})" if self.owner_address else ""
        return (
            f"The object's owner has exited{where}. This is the Python worker that first created the ObjectRef via "
            "`.remote()` or `ray.put()`. Its output tells why."
        )


class ObjectReconstructionFailedError(ObjectLostError):
    """A lost object could not be made again; for ``except`` only, miniray never raises it.

    Args:
        object_ref_hex: Id of the object.
        reason: Name of the reason.
        reason_message: The reason in words.
        owner_address: Where its creator ran, if known.
        call_site: Where in the program the ref was made.
    """

    def __init__(
        self,
        object_ref_hex: str,
        reason: object = None,
        reason_message: str | None = None,
        owner_address: object = None,
        call_site: str = "",
    ) -> None:
        """Keep the facts; see the class."""
        super().__init__(object_ref_hex, owner_address, call_site)
        self.reason = reason
        self.reason_message = reason_message or "The object cannot be reconstructed."

    def _reason(self) -> str:
        return f"[{self.reason or 'UNKNOWN'}] {self.reason_message}"


class ObjectRefStreamEndOfStreamError(RayError):
    """A streaming generator has no more refs."""


class OufOfBandObjectRefSerializationException(RayError):
    """An ObjectRef was pickled by hand, which pins its object for the session."""


class PlasmaObjectNotAvailable(RayError):
    """An object was not in the store within the given time."""


# Errors that need several machines, or channels between them: for `except` only, miniray never raises them ------------


class AuthenticationError(RayError):
    """A token is missing or does not match."""

    def __init__(self, message: str) -> None:
        """Keep the message."""
        super().__init__(message)
        self.message = message


class CrossLanguageError(RayError):
    """An exception of another language; takes an object with ``language`` and ``formatted_exception_string``."""

    def __init__(self, ray_exception: object) -> None:
        """Make the message from the foreign exception."""
        language = getattr(ray_exception, "language", "another language")
        text = getattr(ray_exception, "formatted_exception_string", ray_exception)
        super().__init__(f"An exception raised from {language}:\n{text}")


class LocalRayletDiedError(RayError):
    """The machine's Ray daemon died; miniray has none."""

    def _text(self) -> str:
        return "The task's local raylet died. Check raylet.out for more information."


class NodeDiedError(RayError):
    """A machine of the cluster died."""

    def __init__(self, message: str) -> None:
        """Keep the message."""
        self.message = message

    def _text(self) -> str:
        return self.message


class RpcError(RayError):
    """A call between machines failed."""

    def __init__(self, message: str, rpc_code: object = None) -> None:
        """Keep the message and the code."""
        self.message = message
        self.rpc_code = rpc_code

    def _text(self) -> str:
        return self.message


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A generator yielded another number of objects when it ran again."""


class RayChannelError(RaySystemError):
    """A channel of a compiled graph failed."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel of a compiled graph was not ready in time."""


class RayCgraphCapacityExceeded(RaySystemError):
    """A channel of a compiled graph is full."""


class RayDirectTransportError(RaySystemError):
    """A direct transfer between machines failed."""


def _format_bytes(size_bytes: int) -> str:
    """Return a size for people: ``"3.5 GiB"``.

    Args:
        size_bytes: Number of bytes.
    """
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size_bytes} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
