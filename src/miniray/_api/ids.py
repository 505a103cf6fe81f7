# _api/ids.py - the ids of Ray as types: bytes of a fixed length, compared and hashed as such.
#
# Invariants  D1 an id never changes; those of one type have one length; all bits set is nil.
#             D2 the last four bytes of the id of a task, an actor or a placement group are its job: one for a session.
# Source      Ray 2.60.0, src/ray/common/id.h, python/ray/includes/unique_ids.pxi.
"""Ids of tasks, actors, nodes and the like, with Ray's surface."""

from __future__ import annotations

import builtins
import os
from typing import TYPE_CHECKING, Any, ClassVar

from miniray import _miniray_core as core
from miniray._runtime import ids
from miniray._runtime.digest import digest

if TYPE_CHECKING:
    from typing_extensions import Self


class BaseID:
    """Bytes that name something.

    Args:
        id: As many bytes as ids of this type have.

    Raises:
        TypeError: Not bytes.
        ValueError: Of another length.
    """

    __slots__ = ("_bytes",)
    _LENGTH: ClassVar[int] = 0

    def __init__(self, id: bytes) -> None:  # noqa: A002
        """Make an id of its bytes; see the class."""
        if not isinstance(id, bytes):
            raise TypeError(f"Unsupported type: {type(id)}. {type(self).__name__} takes bytes.")
        if len(id) != self._LENGTH:
            raise ValueError(f"ID string needs to have length {self._LENGTH}, got {len(id)}")
        self._bytes = id

    @classmethod
    def from_binary(cls, id_bytes: bytes) -> Self:
        """Return the id with these bytes."""
        return cls(id_bytes)

    @classmethod
    def from_hex(cls, hex_id: str | bytes) -> Self:
        """Return the id with these hex digits.

        Raises:
            ValueError: They are no hex digits, or too few or too many.
        """
        return cls(bytes.fromhex(hex_id.decode() if isinstance(hex_id, bytes) else hex_id))

    @classmethod
    def nil(cls) -> Self:
        """Return the id of nothing."""
        return cls(b"\xff" * cls._LENGTH)

    @classmethod
    def size(cls) -> int:
        """Return how many bytes ids of this type have."""
        return cls._LENGTH

    def binary(self) -> bytes:
        """Return the bytes."""
        return self._bytes

    def hex(self) -> str:
        """Return the bytes as hex digits."""
        return self._bytes.hex()

    def is_nil(self) -> bool:
        """Return whether it names nothing."""
        return self._bytes == b"\xff" * self._LENGTH

    def __bytes__(self) -> bytes:
        return self._bytes

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"

    def __reduce__(self) -> Any:
        return type(self), (self._bytes,)


class UniqueID(BaseID):
    """An id that is unique by itself."""

    __slots__ = ()
    _LENGTH = 28

    @classmethod
    def from_random(cls) -> Self:
        """Return an id that nobody has."""
        return cls(os.urandom(cls._LENGTH))


class NodeID(UniqueID):
    """Of a machine."""

    __slots__ = ()


class WorkerID(UniqueID):
    """Of a process of a session."""

    __slots__ = ()


class FunctionID(UniqueID):
    """Of a remote function."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """Of an actor class."""

    __slots__ = ()


class JobID(BaseID):
    """Of a program."""

    __slots__ = ()
    _LENGTH = 4

    @classmethod
    def from_int(cls, value: builtins.int) -> Self:
        """Return the id with that number."""
        return cls(value.to_bytes(cls._LENGTH, "little"))

    def int(self) -> builtins.int:
        """Return its number."""
        return builtins.int.from_bytes(self._bytes, "little")


class ActorID(BaseID):
    """Of an actor."""

    __slots__ = ()
    _LENGTH = 16

    @classmethod
    def of(cls, job_id: JobID, parent_task_id: TaskID, parent_task_counter: builtins.int) -> Self:
        """Return the id of the actor that a task made, by the number of the making."""
        return cls(_digest("actor", 12, parent_task_id.binary(), parent_task_counter) + job_id.binary())

    @classmethod
    def from_random(cls) -> Self:
        """Return an id that nobody has."""
        return cls(os.urandom(cls._LENGTH))

    @property
    def job_id(self) -> JobID:
        """The program that it belongs to."""
        nonce = core._session_nonce()
        return JOB if nonce and self._bytes.startswith(nonce) else JobID(self._bytes[-JobID._LENGTH :])


class TaskID(BaseID):
    """Of a task, or of a call of an actor."""

    __slots__ = ()
    _LENGTH = 24

    @classmethod
    def for_fake_task(cls, job_id: JobID) -> Self:
        """Return the id of a task that there is not."""
        return cls(os.urandom(8) + _no_actor(job_id))

    @classmethod
    def for_driver_task(cls, job_id: JobID) -> Self:
        """Return the id that stands for the program itself."""
        return cls(b"\xff" * 8 + _no_actor(job_id))

    @classmethod
    def for_actor_creation_task(cls, actor_id: ActorID) -> Self:
        """Return the id of the task that makes an actor."""
        return cls(b"\xff" * 8 + actor_id.binary())

    @classmethod
    def for_actor_task(
        cls, job_id: JobID, parent_task_id: TaskID, parent_task_counter: builtins.int, actor_id: ActorID
    ) -> Self:
        """Return the id of a call of an actor, by its maker and the number of the making."""
        return cls(_digest("call", 8, parent_task_id.binary(), parent_task_counter) + actor_id.binary())

    @classmethod
    def for_normal_task(cls, job_id: JobID, parent_task_id: TaskID, parent_task_counter: builtins.int) -> Self:
        """Return the id of a task, by its maker and the number of the making."""
        return cls(_digest("task", 8, parent_task_id.binary(), parent_task_counter) + _no_actor(job_id))

    def actor_id(self) -> ActorID:
        """Return the id of the actor that it is a call of; of a task that is none, bits set and the job."""
        return ActorID(self._bytes[8:])

    def job_id(self) -> JobID:
        """Return the program that it belongs to."""
        return JobID(self._bytes[-JobID._LENGTH :])


class PlacementGroupID(BaseID):
    """Of a placement group."""

    __slots__ = ()
    _LENGTH = 18

    @classmethod
    def of(cls, job_id: JobID) -> Self:
        """Return an id of that program that nobody has."""
        return cls(os.urandom(14) + job_id.binary())

    @classmethod
    def from_random(cls) -> Self:
        """Return an id that nobody has."""
        return cls(os.urandom(cls._LENGTH))


JOB = JobID.from_hex(ids.JOB_ID)
"""A session is one job."""


def _no_actor(job_id: JobID) -> bytes:
    return b"\xff" * 12 + job_id.binary()


def _digest(kind: str, size: builtins.int, parent: bytes, counter: builtins.int) -> bytes:
    return digest(kind.encode() + parent + counter.to_bytes(8, "little"), size)


def task_id(number: builtins.int) -> TaskID:
    """Return the id of a task or a call of this session.

    Args:
        number: What it counts as, modulo 2**32; 0: the program itself.
    """
    return TaskID(ids.task_bytes(number))
