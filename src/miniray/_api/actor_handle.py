# _api/actor_handle.py - handles of actors and their methods.
#
# Invariants  A1 a handle is an ObjectRef of the actor's handle object: what counts refs counts handles. A
#                weak one (get_actor) names the same object and keeps nothing.
#             A2 a method holds the ref, not the handle, so that a handle goes without the garbage collector.
#             A3 what a handle must know of its class travels with it as bytes (ActorInfo), unpickled once per process.
"""Handles of actors."""

from __future__ import annotations

import functools
import pickle
from typing import TYPE_CHECKING, Any, NoReturn

from miniray import _miniray_core as core
from miniray._api.actor_options import check_num_returns
from miniray._api.exported import export
from miniray._api.object_ref_generator import configure_stream, count_results, resolve_num_returns
from miniray._api.unsupported import raise_later
from miniray._record import Record
from miniray._runtime import closures
from miniray._runtime.actor_host import Method
from miniray._runtime.concurrency import DEFAULT_GROUP
from miniray.exceptions import ActorDiedError, ActorHandleNotFoundError, PendingCallsLimitExceeded

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable, Mapping, Sequence

_NO_OPTIONS: Mapping[str, Any] = {}
_BUILT_IN = ("__ray_ready__", "__ray_call__", "__ray_terminate__")
_METHOD_OPTIONS = (
    "name",
    "num_returns",
    "max_task_retries",
    "retry_exceptions",
    "concurrency_group",
    "_generator_backpressure_num_objects",
    "enable_task_events",
    "tensor_transport",
    "_labels",
)


class MethodInfo(Record):
    """What a caller must know of a method.

    Attributes:
        signature: Parameters without ``self``, defaults and annotations.
        options: Options of ``@method``.
        is_generator: Whether it yields.
    """

    signature: inspect.Signature
    options: Mapping[str, Any] = _NO_OPTIONS
    is_generator: bool = False

    def positional_range(self) -> tuple[int, int]:
        """Return how many positional arguments need no further check, least and most; least > most: none."""
        least = most = 0
        for parameter in self.signature.parameters.values():
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                most += 1
                least += parameter.default is parameter.empty
            elif parameter.kind is parameter.VAR_POSITIONAL:
                most = (1 << 23) - 1
            elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
                return 1, 0
        return least, most


class ActorInfo(Record):
    """What a handle must know of its actor.

    Attributes:
        class_name: Of the class, for people.
        methods: By name.
        max_task_retries: Default of its methods.
        threads: OMP_NUM_THREADS in its process.
        groups: Its concurrency groups.
        max_pending_calls: Calls of one process that may be unfinished; 0: any number.
        generator_limit: ``_generator_backpressure_num_objects`` of its methods that do not say.
    """

    class_name: str
    methods: Mapping[str, MethodInfo]
    max_task_retries: int
    threads: str
    groups: tuple[str, ...] = ()
    max_pending_calls: int = 0
    generator_limit: int | None = None


@functools.lru_cache(maxsize=1024)
def _load_info(packed: bytes) -> ActorInfo:
    info: ActorInfo = pickle.loads(packed)
    return info


def pack_info(info: ActorInfo) -> bytes:
    """Return the bytes that handles carry."""
    return closures.dumps(info)


class _Call:
    """What the core must know to make a call; keeps the actor.

    Args:
        ref: Of the actor.
        packed_info: Of the actor.
        name: Of the method.
        options: Options of the call; they win over those of the method and of the actor.
    """

    def __init__(self, ref: core.ObjectRef[Any], packed_info: bytes, name: str, options: Mapping[str, Any]) -> None:
        self.ref = ref
        self.packed_info = packed_info
        self.info = info = _load_info(packed_info)
        self.method = info.methods.get(name) or MethodInfo(any_signature())
        self.__name__ = name
        self.options = {**self.method.options, **options}

    def _check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise TypeError unless the method takes these arguments."""
        self.method.signature.bind(*args, **kwargs)

    def _prepare(self, caller: core.Caller) -> None:
        """Export the method to the running session and configure its caller."""
        options = self.options
        for keyword in options:
            if keyword not in _METHOD_OPTIONS:
                raise TypeError(f"ActorMethod.options() got an unexpected keyword argument {keyword!r}")
        if options.get("tensor_transport"):
            raise_later("tensor_transport of a method")
        group = options.get("concurrency_group") or DEFAULT_GROUP
        if group != DEFAULT_GROUP and group not in self.info.groups:
            raise ValueError(
                f"The actor {self.info.class_name} has no concurrency group {group!r}; it has {list(self.info.groups)}."
            )
        num_returns = resolve_num_returns(options, self.method.is_generator)
        limit = options.get("_generator_backpressure_num_objects")
        retries = options.get("max_task_retries")
        retry_on = options.get("retry_exceptions") or None
        function = export(
            options.get("name") or f"{self.info.class_name.rpartition('.')[2]}.{self.__name__}",
            Method(self.__name__, group, num_returns if self.method.is_generator else 1),
            retry_on=tuple(retry_on) if isinstance(retry_on, list) else retry_on,
            threads=self.info.threads,
        )
        try:
            caller.configure_method(self.ref, self.info.max_pending_calls)
        except ValueError as error:
            raise ActorHandleNotFoundError(str(error)) from None
        caller.configure(
            function,
            core._find_shape({})[0],
            count_results(num_returns),
            self.info.max_task_retries if retries is None else retries,
            *self.method.positional_range(),
        )
        configure_stream(caller, num_returns, self.info.generator_limit if limit is None else limit)

    def _raise_full(self) -> NoReturn:
        raise PendingCallsLimitExceeded(
            f"The task {self.__name__} could not be submitted to {self.info.class_name} because more than "
            f"{self.info.max_pending_calls} tasks are queued on the actor. This limit can be adjusted with the "
            "`max_pending_calls` actor option."
        )

    def _raise_gone(self) -> NoReturn:
        raise ActorDiedError("The actor is dead and its last handle is gone.")


class ActorMethod:
    """A method of an actor: ``handle.method.remote(...)``.

    ``remote`` returns at once, with an ObjectRef (a list of them for ``num_returns`` above 1, None for 0); of a method
    that yields with an ObjectRefGenerator.

    Args:
        call: What the core must know.
    """

    def __init__(self, call: _Call) -> None:
        """Make the method; see the class."""
        self._call = call  # a method in the core's hands would be a cycle
        self.__name__ = call.__name__
        self.remote = core.Caller(call)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: methods of actors are called by ``.remote()``."""
        raise TypeError(
            f"Actor methods cannot be called directly. Instead of running 'object.{self.__name__}()', try "
            f"'object.{self.__name__}.remote()'."
        )

    def options(self, **options: Any) -> ActorMethod:
        """Return the method with other options for the calls made through it.

        Args:
            **options: ``num_returns``, ``max_task_retries``, ``retry_exceptions``, ``name``.

        Raises:
            ValueError: ``num_returns`` is negative, or ``"streaming"`` for a method that yields nothing.
        """
        call = self._call
        if "num_returns" in options:
            check_num_returns(options["num_returns"], call.method.is_generator)
        return ActorMethod(_Call(call.ref, call.packed_info, self.__name__, {**call.options, **options}))

    def _remote(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        name: str = "",
        num_returns: int | str | None = None,
        max_task_retries: int | None = None,
        retry_exceptions: bool | list[type[BaseException]] | None = None,
        concurrency_group: str | None = None,
        _generator_backpressure_num_objects: int | None = None,
        _num_objects_per_yield: int | None = None,
        enable_task_events: bool | None = None,
        tensor_transport: str | None = None,
        _labels: Mapping[str, str] | None = None,
    ) -> Any:
        """Call with options, as libraries for Ray do."""
        given = {
            "name": name or None,
            "num_returns": num_returns,
            "max_task_retries": max_task_retries,
            "retry_exceptions": retry_exceptions,
            "concurrency_group": concurrency_group,
            "_generator_backpressure_num_objects": _generator_backpressure_num_objects,
            "enable_task_events": enable_task_events,
            "tensor_transport": tensor_transport,
            "_labels": _labels,
        }
        options = {keyword: value for keyword, value in given.items() if value is not None}
        return self.options(**options).remote(*(args or ()), **(kwargs or {}))

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """Return the node of a task graph that stands for this call; of a method with several results a tuple of nodes.

        Args:
            *args: Arguments by position; they may be or hold other nodes.
            **kwargs: Arguments by name.

        Raises:
            TypeError: The method does not take these arguments.
        """
        from miniray._api.dag.calls import bind_method  # few programs build graphs

        call = self._call
        call._check_arguments(args, kwargs)
        return bind_method(ActorHandle(call.ref, call.packed_info), self.__name__, call.options, args, kwargs)

    def __reduce__(self) -> Any:
        call = self._call
        return _rebuild_method, (ActorHandle(call.ref, call.packed_info), self.__name__, call.options)


class ActorHandle:
    """A reference to an actor; ``handle.method.remote(...)`` calls it.

    Handles may be passed to tasks and other actors, kept in objects and returned. The actor ends when the last has
    gone and the calls that were made have finished. Handles of one actor are equal.
    """

    def __init__(self, ref: core.ObjectRef[Any], packed_info: bytes) -> None:
        """Make a handle of a ref; for miniray itself."""
        self._ref = ref
        self._packed_info = packed_info

    def __getattr__(self, name: str) -> ActorMethod:
        info = _load_info(self.__dict__["_packed_info"])
        if name not in info.methods and name not in _BUILT_IN:
            raise AttributeError(f"'{info.class_name}' object has no attribute '{name}'")
        method = ActorMethod(_Call(self._ref, self._packed_info, name, {}))
        self.__dict__[name] = method
        return method

    def __dir__(self) -> list[str]:
        return [*_load_info(self._packed_info).methods, *_BUILT_IN]

    @property
    def _actor_id(self) -> core.ObjectRef[Any]:
        return self._ref

    def __eq__(self, other: object) -> bool:
        return self._ref == other._ref if isinstance(other, ActorHandle) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._ref)

    def __repr__(self) -> str:
        return f"Actor({_load_info(self._packed_info).class_name}, {self._actor_id.hex()})"

    def __reduce__(self) -> Any:
        if core._is_bare(self._ref):
            return _rebuild_weak, (self._ref.hex(), self._packed_info)
        return ActorHandle, (self._ref, self._packed_info)

    def __copy__(self) -> ActorHandle:
        return self

    def __deepcopy__(self, memo: object) -> ActorHandle:
        return self


def _rebuild_method(handle: ActorHandle, name: str, options: Mapping[str, Any]) -> ActorMethod:
    return ActorMethod(_Call(handle._ref, handle._packed_info, name, options))


def _rebuild_weak(hex_id: str, packed_info: bytes) -> ActorHandle:
    return ActorHandle(core.ObjectRef(core.ObjectID.from_hex(hex_id)), packed_info)


@functools.cache
def any_signature() -> inspect.Signature:
    """Return that of ``(*args, **kwargs)``."""
    import inspect  # here and below: it takes long to import, and a program without actors does well without it

    return inspect.signature(lambda *args, **kwargs: None)


def describe_class(actor_class: type, options: Mapping[str, Any], threads: str) -> ActorInfo:
    """Return what handles of a class must know.

    Args:
        actor_class: As the user wrote it.
        options: Of the actor.
        threads: OMP_NUM_THREADS in its process.
    """
    import inspect

    methods: dict[str, MethodInfo] = {}
    for name, member in inspect.getmembers(actor_class, callable):
        if name in ("__class__", "__init_subclass__", "__subclasshook__", "__new__") or not inspect.isroutine(member):
            continue
        is_generator = inspect.isgeneratorfunction(member) or inspect.isasyncgenfunction(member)
        options_of_method = getattr(member, "__ray_method_options__", {})
        methods[name] = MethodInfo(_plain_signature(actor_class, name, member), options_of_method, is_generator)
    groups = tuple(options.get("concurrency_groups") or ())
    most_pending = max(options.get("max_pending_calls") or 0, 0)
    retries = options.get("max_task_retries") or 0
    limit = options.get("_actor_generator_backpressure_num_objects")
    return ActorInfo(actor_class.__qualname__, methods, retries, threads, groups, most_pending, limit)


def _plain_signature(actor_class: type, name: str, member: Callable[..., Any]) -> inspect.Signature:
    """Return the parameters that a caller gives, without what may not pickle."""
    import inspect

    try:
        signature = inspect.signature(member)
    except (ValueError, TypeError):  # some functions written in C have none
        return any_signature()
    parameters = list(signature.parameters.values())
    declared = inspect.getattr_static(actor_class, name)
    if not isinstance(declared, staticmethod | classmethod) and parameters:
        if parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
            return any_signature()
        parameters = parameters[1:]
    empty = inspect.Parameter.empty
    return inspect.Signature(
        [each.replace(annotation=empty, default=empty if each.default is empty else None) for each in parameters]
    )
