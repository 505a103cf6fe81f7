# _runtime/actor_host.py - the actor that this process hosts: its instance, and what calls of it run.
#
# Invariants  H1 a process hosts at most one actor in its life; the core ends it with the actor.
#             H2 Construct and Method travel in function objects in the place of a function; resolve() gives what runs.
"""What runs in the process of an actor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._record import Record
from miniray._runtime.concurrency import DEFAULT_GROUP, Concurrency, Host, Runnable
from miniray._runtime.generators import collect, stream_of

if TYPE_CHECKING:
    from collections.abc import Callable


_QUICK_STARTS = 3
_LONGEST_PAUSE_SECONDS = 1.0


class _Host:
    """What is known of the actor of this process."""

    instance: Any = None
    exit_wanted: bool = False
    made_by: Construct | None = None
    several: Host | None = None  # of an actor that runs several calls at once


class Construct(Record):
    """The constructor of an actor.

    Attributes:
        actor_class: The class as the user wrote it.
        concurrency: How many calls run at once.
        name: Of the actor; empty without one.
        packed_info: What its handles carry.
    """

    actor_class: type
    concurrency: Concurrency
    name: str = ""
    packed_info: bytes = b""

    def resolve(self) -> Callable[..., None]:
        """Return the function that makes the instance."""

        def construct(*args: Any, **kwargs: Any) -> None:
            time.sleep(pause_before_start(core._failed_starts()))
            _Host.made_by = self
            _Host.several = _make_host(self.concurrency)
            if _Host.several is None:
                _Host.instance = self.actor_class(*args, **kwargs)
            else:
                _Host.instance = _Host.several.construct(lambda: self.actor_class(*args, **kwargs))

        construct.__miniray_names__ = (  # type: ignore[attr-defined]
            self.actor_class.__module__,
            f"{self.actor_class.__name__}.__init__",
        )
        return construct


def pause_before_start(failed_starts: int) -> float:
    """Return how many seconds to wait before a constructor runs: one that ends its process must not be a storm of them.

    Args:
        failed_starts: So many processes died in it, in a row.
    """
    if failed_starts <= _QUICK_STARTS:
        return 0.0
    return min(0.01 * 2.0 ** min(failed_starts - _QUICK_STARTS, 16), _LONGEST_PAUSE_SECONDS)


class Method(Record):
    """A method of an actor.

    Attributes:
        name: Its name, or one of ``__ray_ready__``, ``__ray_call__`` and ``__ray_terminate__``.
        group: Its concurrency group.
        num_returns: How many results the call gives; or a word, for a method that yields.
    """

    name: str
    group: str = DEFAULT_GROUP
    num_returns: int | str = 1

    def resolve(self) -> Callable[..., Any] | Runnable:
        """Return what the call runs, of this process's instance."""
        function = _BUILT_IN.get(self.name) or getattr(_Host.instance, self.name)
        import inspect  # which calls of __main__ have imported anyway

        if self.num_returns == "dynamic":
            function = collect(function, self.name)
        if _Host.several is None:
            return function
        if self.num_returns == "streaming" and inspect.isasyncgenfunction(function):
            function = stream_of(function)
        return Runnable(function, self.group, inspect.iscoroutinefunction(function))


def _make_host(concurrency: Concurrency) -> Host | None:
    if not concurrency.is_several:
        return None
    if concurrency.is_async:
        from miniray._runtime.loop_host import LoopHost  # asyncio takes long to import

        return LoopHost(concurrency)
    from miniray._runtime.thread_host import ThreadHost

    return ThreadHost(concurrency)


def serve() -> None:
    """Run the calls of an actor that runs several at once, until it has ended."""
    assert _Host.several is not None
    _Host.several.serve()


def _ready() -> bool:
    return True


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(_Host.instance, *args, **kwargs)


def own_actor() -> Construct | None:
    """Return what the actor of this process was made by, None without one."""
    return _Host.made_by


def is_async() -> bool:
    """Return whether the actor of this process runs in event loops."""
    return _Host.made_by is not None and _Host.made_by.concurrency.is_async


def exit_actor() -> None:
    """End the actor that this process hosts after the running call, which does not return.

    Exit handlers (``atexit``) run; the actor is not started again; this call and those that wait get ActorDiedError.

    Raises:
        TypeError: This is no actor.
        SystemExit: Always otherwise; catching it does not save the actor.
    """
    if core._own_actor() is None:
        raise TypeError("exit_actor API is called on a non-actor worker, which is not allowed.")
    call = core._running_call()
    if _Host.several is None:
        _Host.exit_wanted = True
        core._call_after_task()
    elif call is not None:
        call.exits = True
    raise SystemExit(0)


def drop_instance() -> None:
    """Let go of the actor's instance, so that its ``__del__`` runs: the process ends without Python's own clean-up."""
    core._forget_functions()
    _Host.instance = None


def leave_if_wanted() -> None:
    """Raise SystemExit when ``exit_actor`` was called, whoever caught it."""
    if _Host.exit_wanted:
        raise SystemExit(0)


_BUILT_IN: dict[str, Callable[..., Any]] = {
    "__ray_ready__": _ready,
    "__ray_call__": _call,
    "__ray_terminate__": exit_actor,
}
