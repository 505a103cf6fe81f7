"""Shared-memory core of miniray."""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from typing_extensions import Self


__version__: str
_T_co = TypeVar("_T_co", covariant=True)

class ObjectRef(Generic[_T_co]):
    """Names an object, ready or not, and keeps it alive."""

    def __init__(self, object_id: ObjectID | bytes | None = None) -> None:
        """
        Make a bare ref: of a random id, of an ObjectID, or of the 16 bytes of one.
        """
    @property
    def id(self) -> ObjectID: ...
    def get_object_id(self) -> ObjectID: ...
    def hex(self) -> str: ...
    def to_hex(self) -> str: ...
    def binary(self) -> bytes: ...
    def is_nil(self) -> bool: ...
    def __await__(self) -> Generator[Any, None, _T_co]: ...
    def future(self) -> Future[_T_co]: ...
    def as_future(self, _internal: bool = False) -> asyncio.Future[_T_co]: ...
    def task_id(self) -> Any: ...
    def job_id(self) -> Any: ...
    @classmethod
    def from_random(cls) -> ObjectRef[Any]: ...
    @classmethod
    def from_binary(cls, id_bytes: bytes) -> ObjectRef[Any]: ...
    @classmethod
    def nil(cls) -> ObjectRef[Any]: ...
    @classmethod
    def size(cls) -> int: ...
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...

class PayloadView:
    """
    Read-only memory of a sealed object; keeps the payload while it is in use.
    """

class StoreBlock:
    """Writable bytes of the object store that are no object yet: see miniray.create()."""

    @property
    def sealed(self) -> bool:
        """Whether it has become (part of) an object, and is read-only."""
    def __len__(self) -> int: ...
    def __getitem__(self, key: Any) -> Any: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Caller:
    """What ``f.remote`` is: encodes the arguments, submits the task and returns the refs of its results."""

    def __init__(self, owner: object) -> None: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def configure(
        self, function: ObjectRef[Any], shape: int, result_count: int, retries: int, least: int, most: int
    ) -> None: ...
    def configure_creation(
        self, hold_shape: int, restarts: int, is_unordered: bool, is_detached: bool, /
    ) -> None: ...
    def configure_method(self, actor: ObjectRef[Any], most_pending: int, /) -> None: ...
    def configure_place(self, group: bytes | None, refusal: int, /) -> None: ...
    def configure_stream(self, reader: type[StreamReader], limit: int, /) -> None: ...

def get(object_refs: Any, *, timeout: float | None = None) -> Any:
    """
    Return the value of an ObjectRef, or the list of values of a list of ObjectRefs, in order.

    Blocks until all are ready, without the GIL. Arrays and other buffers are read-only views of shared memory, not copies; they
    stay valid after the ref is gone. The first error among the refs is raised at once, as an instance of both RayTaskError and
    the type that the task raised.

    Args:
        object_refs: An ObjectRef, or a list of them.
        timeout: Seconds to wait; 0 only looks, None waits for ever.

    Raises:
        GetTimeoutError: Not all were ready in time; the refs stay usable.
        ValueError: A ref of an earlier session, or not a ref or a list.
    """

class StreamReader:
    """The refs of what a task yields; ``ObjectRefGenerator`` is made of it."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> ObjectRef[Any]: ...
    def completed(self) -> ObjectRef[Any]:
        """Return the ref that is ready when the task has ended; it raises what ended the task without an item."""
    def next_ready(self) -> bool:
        """Return whether next() gives a ref at once."""
    def is_finished(self) -> bool:
        """Return whether no ref is left and none will come."""
    def _next_nowait(self) -> ObjectRef[Any] | bool | None: ...
    def _peek(self) -> ObjectRef[Any]: ...
    def _unpeek(self, ref: ObjectRef[Any], /) -> None: ...

class BegunCall(Coroutine[Any, Any, None]):
    """One call of an actor that runs several at once: a coroutine that runs its method."""

    owner: Any
    exits: bool
    streams: bool
    __name__: str
    @property
    def number(self) -> int: ...
    @property
    def group(self) -> str: ...
    def __await__(self) -> Generator[Any, Any, None]: ...
    def send(self, value: object, /) -> Any: ...
    def throw(self, *error: Any) -> Any: ...
    def close(self) -> None: ...
    def answer(self, error: BaseException, /) -> bool: ...
    def hears_of_cancel(self) -> bool: ...

class ObjectID:
    """The name of an object: 128 bits. Made without arguments it is nil."""

    def __init__(self) -> None: ...

    @staticmethod
    def from_random() -> ObjectID:
        """Return a new id that no other will equal."""

    @staticmethod
    def from_hex(hex: str) -> ObjectID:
        """
        Return the id of 32 hexadecimal digits.

        Raises:
            ValueError: Not 32 hexadecimal digits.
        """

    def to_hex(self) -> str:
        """Return 32 hexadecimal digits."""

    def is_nil(self) -> bool:
        """Return whether all bits are zero."""

    def __repr__(self) -> str: ...

    def __hash__(self) -> int: ...

    def __eq__(self, other: object) -> bool: ...

    def __getstate__(self) -> tuple[int, int]: ...

    def __setstate__(self, arg: tuple[int, int], /) -> None: ...

class Task:
    """
    A call as bytes: what to run, with what, and the ref that its result will have. Never changes.
    """

    def __init__(self, return_ref: ObjectRef[Any] | ObjectID, serialized_function: object, serialized_args: object) -> None:
        """
        Make a task.

        Args:
            return_ref: ObjectRef or ObjectID of the result.
            serialized_function: Bytes-like, or a list of integers 0 to 255.
            serialized_args: Likewise.
        """

    @property
    def return_ref(self) -> ObjectRef[Any]:
        """Ref of the result."""

    @property
    def serialized_function(self) -> bytes:
        """Bytes of the function."""

    @property
    def serialized_args(self) -> bytes:
        """Bytes of the arguments."""

    def __eq__(self, other: object) -> bool: ...

    def __hash__(self) -> int: ...

    def __repr__(self) -> str: ...

    def __getstate__(self) -> tuple[Any, ...]: ...

    def __setstate__(self, state: tuple[Any, ...], /) -> None: ...

class ObjectStore:
    """
    Byte strings in shared memory, for all processes that open the same name.

    Objects live until they are deleted or, least recently used first, evicted; refs do not keep them. Safe to use
    from several threads and, after fork, in the child.
    """

    def __init__(self, create: bool = True, name: str | None = None, capacity: int | None = None, eviction: str = 'lru', max_objects: int = 1000000) -> None:
        """
        Make a store (the main process), or open it (``create=False``).

        Args:
            create: True makes the segment, which goes when this process closes it or ends; a dead program's is taken over.
            name: None is ``miniray_objectstore`` in /dev/shm; another name gives ``miniray_<name>_objectstore``.
            capacity: Bytes, reserved only as they are used; None is 30% of what /dev/shm has free. Ignored when opening.
            eviction: ``"lru"`` drops the least recently used objects when the store is full, ``"error"`` refuses new ones.
            max_objects: Entries at most. Ignored when opening.

        Raises:
            FileExistsError: A live process made a store of that name; the text names it.
            FileNotFoundError: Opened before it was made.
            PermissionError: The segment is another user's, or readable by others.
            RuntimeError: Another layout version, or a damaged segment.
        """

    def put(self, data: object, ref: ObjectRef[Any] | ObjectID | None = None) -> ObjectRef[Any]:
        """
        Store bytes and return their ref. Copies once; blocks only while the store is changed.

        Args:
            data: Bytes-like, or a list of integers 0 to 255.
            ref: An ObjectRef or ObjectID to put it under.

        Raises:
            ValueError: The ref has an object already; objects never change.
            ObjectStoreFullError: No room, and nothing that may be evicted.
        """

    def get(self, ref: ObjectRef[Any] | ObjectID) -> bytes:
        """
        Return the bytes of an object: a copy.

        Raises:
            KeyError: No such object.
        """

    def get_view(self, ref: ObjectRef[Any] | ObjectID) -> memoryview:
        """
        Return the bytes of an object where they lie: a read-only memoryview, no copy.

        The memory stays as long as the view or anything made from it, whatever happens to the object or the store.

        Raises:
            KeyError: No such object.
        """

    def contains(self, ref: ObjectRef[Any] | ObjectID) -> bool:
        """Return whether there is such an object now."""

    def __contains__(self, ref: ObjectRef[Any] | ObjectID) -> bool: ...

    def delete(self, ref: ObjectRef[Any] | ObjectID) -> None:
        """
        Delete an object; views of it keep its memory.

        Raises:
            KeyError: No such object, or deleted already.
        """

    def remove(self, ref: ObjectRef[Any] | ObjectID) -> None:
        """The same as ``delete``."""

    def size(self) -> int:
        """Return how many objects there are."""

    def __len__(self) -> int: ...

    @property
    def used_bytes(self) -> int:
        """Bytes that objects of more than 32 bytes take, with rounding."""

    @property
    def capacity(self) -> int:
        """Bytes that objects may take."""

    @property
    def name(self) -> str:
        """File in /dev/shm."""

    def close(self) -> None:
        """
        Leave the store; in the process that made it, remove it. Twice is harmless.
        """

    def __enter__(self) -> ObjectStore: ...

    def __exit__(self, *exception: object) -> None: ...

class Scheduler:
    """
    A queue of tasks in shared memory, first in, first out, and a list of workers, for all processes that open the
    same name. A task is received by one process, once. Safe to use from several threads and, after fork, in the child.
    """

    def __init__(self, create: bool = True, name: str | None = None, max_tasks: int = 1000000, max_workers: int = 1024) -> None:
        """
        Make a scheduler (the main process), or open it (``create=False``).

        Args:
            create: True makes the segment, which goes when this process closes it or ends; a dead program's is taken over.
            name: None is ``miniray_scheduler`` in /dev/shm; another name gives ``miniray_<name>_scheduler``.
            max_tasks: Queued tasks at most. Ignored when opening.
            max_workers: Registered workers at most. Ignored when opening.

        Raises:
            FileExistsError: A live process made a scheduler of that name; the text names it.
            FileNotFoundError: Opened before it was made.
            PermissionError: The segment is another user's, or readable by others.
            RuntimeError: Another layout version, or a damaged segment.
        """

    def submit_task(self, task: Task) -> None:
        """
        Queue a task; wakes a process that waits for one. Copies its bytes, does not block.

        Raises:
            MemoryError: The queue is full.
            ObjectStoreFullError: No room for the task's bytes.
        """

    def get_next_task(self, timeout: float | None = None) -> Task | None:
        """
        Take the oldest task, or return None when there is none.

        Args:
            timeout: Seconds to wait for one, without the GIL; None does not wait.

        A process that dies after it took a task takes the task along.
        """

    def register_worker(self, worker_id: int) -> None:
        """
        Add a worker, idle at first. It stays until it is unregistered, whoever ends.

        Args:
            worker_id: An integer of your choice, for example the process number.

        Raises:
            ValueError: Registered already.
            MemoryError: max_workers are.
        """

    def unregister_worker(self, worker_id: int) -> None:
        """
        Remove a worker.

        Raises:
            KeyError: Not registered.
        """

    def mark_worker_busy(self, worker_id: int) -> None:
        """
        Say that a worker is busy; once or twice.

        Raises:
            KeyError: Not registered.
        """

    def mark_worker_idle(self, worker_id: int) -> None:
        """
        Say that a worker is idle; once or twice.

        Raises:
            KeyError: Not registered.
        """

    def get_pending_task_count(self) -> int:
        """Return how many tasks are queued."""

    def get_idle_worker_count(self) -> int:
        """Return how many registered workers are idle."""

    def has_idle_worker(self) -> bool:
        """Return whether a registered worker is idle."""

    @property
    def name(self) -> str:
        """File in /dev/shm."""

    def close(self) -> None:
        """
        Leave the scheduler; in the process that made it, remove it. Twice is harmless.
        """

    def __enter__(self) -> Scheduler: ...

    def __exit__(self, *exception: object) -> None: ...

def cleanup_shared_memory() -> int:
    """
    Remove what this process made with ``create=True``, and what dead programs left under the default names.

    Never touches what another live process made. Objects of this process that are removed are closed.

    Returns:
        How many segments were removed.
    """

def _actor_facts(actor: ObjectRef[Any], /) -> tuple[int, int, int, int, int] | None: ...
def _begin_calls(most: int, /) -> list[BegunCall] | None: ...
def _begin_sleep(takes: bool, /) -> bool: ...
def _add_item(call: int, value: object, position: int, /) -> int: ...
def _await_object(ref: ObjectRef[Any], /) -> int: ...
def _await_room(call: int, /) -> tuple[int, ObjectRef[Any]] | None: ...
def _busy_threads() -> int: ...
def _call_after_task() -> None: ...
def _cancel(ref: ObjectRef[Any], force: bool, recursive: bool, /) -> None: ...
def _cancel_signal() -> int: ...
def _claim_name(payload: bytes, identity: bytes, /) -> ObjectRef[Any] | None: ...
def _collect_awaited() -> list[ObjectRef[Any]] | None: ...
def _configure_hooks(**hooks: object) -> None: ...
def _create_placement_group(
    make: Callable[[bytes], object], description: ObjectRef[Any], bundles: list[dict[str, int]], never: bool, /
) -> tuple[bytes, bool]: ...
def _current_placement() -> tuple[bytes, bool] | None: ...
def _current_task_name() -> str | None: ...
def _end_awaiting() -> None: ...
def _end_own_actor() -> None: ...
def _end_sleep() -> None: ...
def _enter_environment(environment: int, /) -> None: ...
def _environment_of(pid: int, /) -> int: ...
def _environment_payload(environment: int, /) -> bytes: ...
def _fail_environment(environment: int, pid: int, note: int, /) -> int: ...
def _fail_stranded(pid: int, status: int, note: int, later_too: bool = False, /) -> int: ...
def _failed_starts() -> int: ...
def _find_actor(identity: bytes, /) -> tuple[ObjectRef[Any], bytes] | None: ...
def _find_environment(ref: ObjectRef[Any], /) -> int: ...
def _find_placement_group(identity: bytes, /) -> bytes | None: ...
def _find_shape(
    units: Mapping[str, int],
    environment: int = 0,
    group: bytes | None = None,
    bundle: int = -1,
    captures: bool = False,
    /,
) -> tuple[int, bool]: ...
def _flush_releases() -> None: ...
def _forget_functions() -> None: ...
def _give_way(environment: int, count: int, /) -> int: ...
def _have_calls_been_cancelled() -> bool: ...
def _is_attached() -> bool: ...
def _is_cancel_due() -> bool: ...
def _is_bare(ref: ObjectRef[Any], /) -> bool: ...
def _kill_actor(actor: ObjectRef[Any], restart: bool, /) -> int: ...
def _is_poisoned() -> bool: ...
def _layout() -> dict[str, tuple[int, int]]: ...
def _let_memory_watch_sleep() -> bool: ...
def _life_of(pid: int) -> int: ...
def _note_death(text: str) -> int: ...
def _nudge() -> None: ...
def _observe_objects(
    session: str | None, /
) -> list[tuple[str, str, int, str, int, int, int, list[tuple[int, str, str]], int, int, str | None]]: ...
def _observe_session(session: str | None, /) -> dict[str, Any]: ...
def _own_actor() -> ObjectRef[Any] | None: ...
def _own_gpus() -> int: ...
def _placement_groups() -> list[tuple[bytes, int, ObjectRef[Any], list[dict[str, tuple[int, int]]]]]: ...
def _placement_ready(group: bytes, /) -> ObjectRef[Any] | None: ...
def _processes() -> list[tuple[int, int, int, int]]: ...
def _put(value: Any) -> ObjectRef[Any]: ...
def _put_error(error: BaseException, /) -> ObjectRef[Any]: ...
def _put_named(payload: bytes, identity: bytes) -> ObjectRef[Any]: ...
def _read_bytes(ref: ObjectRef[Any], /) -> bytes: ...
def _refuse_calls() -> None: ...
def _remove_placement_group(group: bytes, /) -> bool: ...
def _recover(pid: int, status: int, cause: int = 0, note: int = 0, /) -> int: ...
def _repeat_cancel_signal() -> None: ...
def _require_session() -> None: ...
def _resources() -> dict[str, tuple[int, int]]: ...
def _running_task() -> tuple[int, str | None, dict[str, int], bool, Any] | None: ...
def _ring_when_called(descriptor: int, /) -> None: ...
def _run_calls(call: BegunCall, /) -> None: ...
def _run_in_threads(most: int, take_themselves: bool, /) -> None: ...
def _run_worker(
    load_function: Callable[[bytes], object],
    on_error: Callable[[str, BaseException, bool], BaseException],
    before_task: Callable[[str, int], None],
    after_output: Callable[[], None],
    unread_error: Callable[[BaseException], None],
    serve: Callable[[], None],
    pool_size: int,
) -> None: ...
def _running_call() -> BegunCall | None: ...
def _running_tasks() -> list[tuple[int, str, int, bool]]: ...
def _session_name() -> str: ...
def _session_nonce() -> bytes: ...
def _session_adopt_after_fork() -> None: ...
def _set_blocking_hook(hook: Callable[[], object] | None, /) -> None: ...
def _session_spill_file(descriptor: int) -> None: ...
def _session_attach(name: str, kind: str) -> None: ...
def _session_attach_descriptors(name: str, control: int, heap: int, kind: str) -> None: ...
def _session_close() -> None: ...
def _session_create(
    name: str,
    heap_bytes: int,
    spill_bytes: int,
    objects: int,
    tasks: int,
    processes: int,
    anonymous: bool = False,
    heap_size_was_given: bool = False,
    record_call_sites: bool = False,
    /,
) -> None: ...
def _session_descriptors() -> tuple[int, int]: ...
def _session_forget() -> None: ...
def _session_inspect(name: str) -> int: ...
def _session_unlink(name: str) -> None: ...
def _create_block(nbytes: int) -> StoreBlock: ...
def _fill_zero(block: StoreBlock) -> None: ...
def _is_in_store(buffer: object) -> bool: ...
def _is_spilled(ref: ObjectRef[Any]) -> bool: ...
def _discard_places() -> bool: ...
def _set_actor_name(actor: ObjectRef[Any], name: ObjectRef[Any], /) -> None: ...
def _set_doorbell(descriptor: int) -> None: ...
def _set_life(descriptor: int) -> None: ...
def _set_memory_retries(count: int | None) -> None: ...
def _set_stop_limit(milliseconds: int) -> None: ...
def _set_resources(totals: Mapping[str, int]) -> None: ...
def _stand_by() -> None: ...
def _statistics() -> dict[str, int]: ...
def _sweep() -> int: ...
def _unlink_if_dead(file: str) -> bool: ...
def _trim() -> int: ...
def _trim_wanted() -> bool: ...
def _validate() -> str | None: ...
def _wait(refs: list[ObjectRef[Any]], num_returns: int, timeout: float | None) -> list[int]: ...
def _wait_for_refs(refs: list[Any], num_returns: int, timeout: float | None, /) -> tuple[list[Any], list[Any]] | None: ...
def _watch_process(pid: int, name: str) -> None: ...
def _weak_ref(ref: ObjectRef[Any], /) -> ObjectRef[Any]: ...
def _workers_needed() -> list[tuple[int, int, int, int]]: ...
