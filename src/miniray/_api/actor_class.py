# _api/actor_class.py - @remote on classes.
#
# Invariants  C1 the class is pickled at the first .remote() of a session, not when decorated.
#             C2 a name is claimed before its actor is made, so that of two racers one makes an actor, the other none.
"""Actor classes."""

from __future__ import annotations

import pickle
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

from miniray import _miniray_core as core
from miniray._api.actor_handle import ActorHandle, describe_class, pack_info
from miniray._api.actor_options import resolve_actor_demands, resolve_concurrency, validate_actor_options
from miniray._api.environments import number_for, without_empty
from miniray._api.exported import export
from miniray._api.places import resolve_place
from miniray._api.warn_once import warn_once
from miniray._runtime import namespace as namespaces
from miniray._runtime.actor_host import Construct
from miniray._runtime.digest import digest
from miniray.exceptions import ActorAlreadyExistsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from miniray._api.dag.calls import ClassNode


_CLAIM_PAUSE_SECONDS = 0.0005


class ActorClassInheritanceException(TypeError):
    """A class derives from an actor class: derive from the undecorated class, and decorate the result."""


class ActorClass:
    """A class whose objects live in processes of their own.

    ``C.remote(...)`` makes one and returns its handle at once, without waiting for ``__init__``. Attributes and static
    methods of the class stay usable.

    Args:
        actor_class: The class.
        options: Checked options of the decorator and of ``.options()``.
    """

    def __init__(self, actor_class: type, options: Mapping[str, Any]) -> None:
        """Wrap a class; see the class."""
        self.__ray_actor_class__ = actor_class
        self._options = dict(options)
        self.__name__ = actor_class.__name__
        self.__qualname__ = actor_class.__qualname__
        self.__module__ = actor_class.__module__
        self.__doc__ = actor_class.__doc__
        self._caller = core.Caller(self)
        self._packed_info: bytes | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: actors are made by ``.remote()``."""
        raise TypeError(
            f"Actors cannot be instantiated directly. Instead of '{self.__name__}()', use '{self.__name__}.remote()'."
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["__ray_actor_class__"], name)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> NoReturn:
        raise ActorClassInheritanceException(
            f"Attempted to define a subclass of the actor class {self.__name__}. Inheriting from actor classes is not "
            "currently supported. You can inherit from a non-actor base class and then decorate the derived class."
        )

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Make an actor; return its handle at once.

        Args:
            *args: For ``__init__``; refs at the top level arrive as values.
            **kwargs: The same by name.

        Raises:
            TypeError: ``__init__`` does not take these arguments, or one does not pickle.
            ActorAlreadyExistsError: The name is taken.
        """
        options = self._options
        core._require_session()
        name = options.get("name")
        if name is None:
            return ActorHandle(self._caller(*args, **kwargs), self._info())
        namespace = options.get("namespace") or namespaces.current()
        claim = None
        while claim is None:
            found = find_actor(name, namespace) if options.get("get_if_exists") else None
            if found is not None:
                return found
            claim = core._claim_name(pickle.dumps((name, namespace, self._info())), name_id(name, namespace))
            if claim is None and not options.get("get_if_exists"):
                raise ActorAlreadyExistsError(
                    f"The name {name} (namespace={namespace}) is already taken. Please use a different name or get the "
                    f'existing actor using ray.get_actor("{name}", namespace="{namespace}")'
                )
            if claim is None:
                time.sleep(_CLAIM_PAUSE_SECONDS)  # another process is between its claim and its actor
        try:
            ref = self._caller(*args, **kwargs)
            core._set_actor_name(ref, claim)
        finally:
            del claim  # from now on only the actor keeps the name; also when a traceback keeps this frame
            core._flush_releases()
        return ActorHandle(ref, self._info())

    def options(self, **actor_options: Any) -> _ClassWithOptions:
        """Return the class with other options for the actors made through it.

        Args:
            **actor_options: As for ``remote``, except ``concurrency_groups``.

        Raises:
            ValueError: An unknown option or a bad value.
            TypeError: A value of a wrong type.
        """
        merged = {**self._options, **without_empty(actor_options)}
        validate_actor_options(merged, given_in_options=actor_options)
        return _ClassWithOptions(ActorClass(self.__ray_actor_class__, merged))

    def _remote(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **actor_options: Any
    ) -> ActorHandle:
        """Make an actor with options, as libraries for Ray do."""
        return self.options(**actor_options).remote(*(args or ()), **(kwargs or {}))

    def bind(self, *args: Any, **kwargs: Any) -> ClassNode:
        """Return the node of a task graph that stands for an actor of this class.

        Args:
            *args: Arguments of ``__init__`` by position; they may be or hold other nodes.
            **kwargs: Arguments by name.
        """
        from miniray._api.dag.calls import ClassNode  # few programs build graphs

        return ClassNode(self, args, kwargs, self._options)

    def __reduce__(self) -> Any:
        return ActorClass, (self.__ray_actor_class__, self._options)

    # --- for the core -------------------------------------------------------------------------------------------------

    def _info(self) -> bytes:
        if self._packed_info is None:
            self._packed_info = pack_info(describe_class(self.__ray_actor_class__, self._options, self._threads()))
        return self._packed_info

    def _threads(self) -> str:
        return str(max(int(self._options.get("num_cpus") or 1), 1))

    def _check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise TypeError unless ``__init__`` takes these arguments."""
        import inspect  # it takes long to import

        try:
            signature = inspect.signature(self.__ray_actor_class__)
        except (ValueError, TypeError):
            return
        signature.bind(*args, **kwargs)

    def _prepare(self, caller: core.Caller) -> None:
        """Export the class to the running session and configure its caller."""
        place, hold = resolve_actor_demands(self._options)
        where = resolve_place(self._options, self.__name__, hold, place)
        shape, can_run = where.find_shape(place, number_for(self._options.get("runtime_env")))
        if not can_run and where.group is None:
            warn_once(
                f"impossible:{sorted(place.units().items())}",
                f"The actor '{self.__name__}' asks for {place.quantities()}, more than this session has in all: it "
                "stays pending. Raise init(num_cpus=..., num_gpus=..., resources=...), or ask for less.",
            )
        concurrency = resolve_concurrency(self.__ray_actor_class__, self._options)
        function = export(
            f"{self.__name__}.__init__",
            Construct(self.__ray_actor_class__, concurrency, self._options.get("name") or "", self._info()),
            what=self.__ray_actor_class__,
            threads=self._threads(),
        )
        is_detached = self._options.get("lifetime") == "detached"
        if is_detached:
            warn_once(
                "detached",
                'An actor with lifetime="detached" lives until it is killed or the session ends: the session, and so '
                "the actor, cannot outlive this program.",
            )
        restarts = self._options.get("max_restarts") or 0
        caller.configure_creation(where.find_shape(hold)[0], restarts, concurrency.is_several, is_detached)
        caller.configure(function, shape, 0, 0, 1, 0)
        caller.configure_place(where.group, where.refusal)


class _ClassWithOptions:
    """An actor class with other options; has only ``remote`` and ``bind``."""

    def __init__(self, actor_class: ActorClass) -> None:
        self.remote = actor_class.remote
        self.bind = actor_class.bind


def name_id(name: str, namespace: str) -> bytes:
    """Return the id of the object that carries the name of an actor."""
    return digest(f"actor\0{namespace}\0{name}".encode(), 16)


def find_actor(name: str, namespace: str) -> ActorHandle | None:
    """Return a weak handle of a named actor, None when no such actor lives."""
    found = core._find_actor(name_id(name, namespace))
    if found is None:
        return None
    ref, payload = found
    *_, packed_info = pickle.loads(payload)
    return ActorHandle(ref, packed_info)


def list_named() -> list[tuple[str, str]]:
    """Return namespace and name of each named actor that lives, sorted."""
    from miniray._runtime import observation  # few programs ask, and it imports much

    found = []
    for row in observation.observe_objects(None):
        if row.is_function:  # or a name: both have ids from outside
            words = int(row.object_id[:16], 16), int(row.object_id[16:], 16)
            named = core._find_actor(b"".join(word.to_bytes(8, sys.byteorder) for word in words))
            if named is not None:
                name, namespace, _ = pickle.loads(named[1])
                found.append((namespace, name))
    return sorted(found)


def make_actor_class(actor_class: type, options: Mapping[str, Any]) -> ActorClass:
    """Answer ``@remote`` on a class.

    Args:
        actor_class: The decorated class.
        options: Of the decorator.
    """
    validate_actor_options(options)
    made = ActorClass(actor_class, options)
    made._info()  # a method that is not supported is told at once
    return made
