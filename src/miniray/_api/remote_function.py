# _api/remote_function.py - @remote on functions.
#
# Invariants  F1 a function is pickled at its first .remote() of a session, not when decorated: globals defined in
#                between are seen.
#             F2 everything a call needs is in the Caller (C++); this module is left alone on the hot path.
"""Remote functions."""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._api.actor_class import ActorClass, make_actor_class
from miniray._api.actor_handle import any_signature
from miniray._api.environments import number_for
from miniray._api.exported import export
from miniray._api.object_ref_generator import DYNAMIC, configure_stream, count_results, resolve_num_returns
from miniray._api.options import (
    RESOURCE_UNIT,
    default_max_retries,
    merge_task_options,
    resolve_demand,
    resolve_max_calls,
    validate_task_options,
)
from miniray._api.places import resolve_place
from miniray._api.warn_once import warn_once
from miniray._runtime.generators import Dynamic, Flat

if TYPE_CHECKING:
    import inspect
    from collections.abc import Mapping, Sequence

    from miniray._api.dag.calls import FunctionNode


_YIELDS = 0x20 | 0x200  # inspect.CO_GENERATOR and CO_ASYNC_GENERATOR, without inspect, which takes long to import
_IS_COROUTINE = 0x80  # inspect.CO_COROUTINE


class RemoteFunction:
    """A function whose calls run in worker processes.

    ``f.remote(...)`` returns at once, with an ObjectRef (a list of them for ``num_returns`` above 1, None for 0); of a
    function that yields with an ObjectRefGenerator.

    Args:
        function: The function.
        options: Checked options of the decorator and of ``.options()``.
    """

    def __init__(self, function: types.FunctionType, options: Mapping[str, Any]) -> None:
        """Wrap a function; see the class."""
        self._function = function
        self._options = dict(options)
        functools.update_wrapper(self, function)
        self.remote = core.Caller(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: remote functions are called by ``.remote()``."""
        raise TypeError(
            f"Remote functions cannot be called directly. Instead of running '{self._function.__name__}()', try "
            f"'{self._function.__name__}.remote()'."
        )

    def options(self, **task_options: Any) -> _FunctionWithOptions:
        """Return the function with other options for the calls made through it; the decorator's stay for the rest.

        Args:
            **task_options: As for ``remote``, except ``max_calls``.

        Raises:
            ValueError: An unknown option or a bad value.
            TypeError: A value of a wrong type.
        """
        validate_task_options(task_options, in_options=True, is_generator_callable=_is_generator(self._function))
        return _FunctionWithOptions(self, merge_task_options(self._options, task_options))

    def _remote(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        serialized_runtime_env_info: str | None = None,
        **task_options: Any,
    ) -> Any:
        """Call with options, as libraries for Ray do."""
        return self.options(**task_options).remote(*(args or ()), **(kwargs or {}))

    def bind(self, *args: Any, **kwargs: Any) -> FunctionNode:
        """Return the node of a task graph that stands for this call.

        Args:
            *args: Arguments by position; they may be or hold other nodes.
            **kwargs: Arguments by name.
        """
        from miniray._api.dag.calls import FunctionNode  # few programs build graphs

        return FunctionNode(self, args, kwargs, self._options)

    def __reduce__(self) -> Any:
        return _rebuild, (self._function, self._options)

    # --- for the core -------------------------------------------------------------------------------------------------

    def _check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise TypeError unless the function takes these arguments."""
        self._signature.bind(*args, **kwargs)

    @functools.cached_property
    def _signature(self) -> inspect.Signature:
        import inspect  # it takes long to import

        try:
            return inspect.signature(self._function)
        except ValueError:  # some functions written in C have none
            return any_signature()

    def _prepare(self, caller: core.Caller) -> None:
        """Export the function to the running session and configure a caller."""
        options = self._options
        demand = resolve_demand(options)
        units = demand.units()
        name = options.get("name") or self._function.__name__
        place = resolve_place(options, self._function.__name__, demand)
        shape, can_run = place.find_shape(demand, number_for(options.get("runtime_env")))
        if not can_run and place.group is None:
            warn_once(
                f"impossible:{sorted(units.items())}",
                f"The call of '{name}' asks for {demand.quantities()}, more than this session has in all: it stays "
                "pending. Raise init(num_cpus=..., num_gpus=..., resources=...), or ask for less.",
            )
        max_calls = resolve_max_calls(options)
        retry_on = options.get("retry_exceptions") or None
        if isinstance(retry_on, list):
            retry_on = tuple(retry_on)
        threads = str(max(demand.cpu_units // RESOURCE_UNIT, 1))
        max_retries = options.get("max_retries")
        num_returns = resolve_num_returns(options, _is_generator(self._function))
        least, most = self._positional_range()
        caller.configure(
            export(
                name,
                self._runnable(name, num_returns),
                what=self._function,
                retry_on=retry_on,
                max_calls=max_calls,
                threads=threads,
            ),
            shape,
            count_results(num_returns),
            default_max_retries() if max_retries is None else max_retries,
            least,
            most,
        )
        caller.configure_place(place.group, place.refusal)
        configure_stream(caller, num_returns, options.get("_generator_backpressure_num_objects"))

    def _runnable(self, name: str, num_returns: int | str) -> object:
        """Return what workers run."""
        at_once = self._options.get("_num_objects_per_yield") or 1
        function = Flat(self._function, at_once) if at_once > 1 else self._function
        return Dynamic(function, name) if num_returns == DYNAMIC else function

    def _positional_range(self) -> tuple[int, int]:
        least = most = 0
        for parameter in self._signature.parameters.values():
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                most += 1
                least += parameter.default is parameter.empty
            elif parameter.kind is parameter.VAR_POSITIONAL:
                most = (1 << 23) - 1
            elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
                return 1, 0  # never without keywords: the full check says what is missing
        return least, most


class _FunctionWithOptions:
    """A remote function with other options; has only ``remote`` and ``bind``."""

    def __init__(self, base: RemoteFunction, options: Mapping[str, Any]) -> None:
        function = RemoteFunction(base._function, options)
        self.remote = function.remote
        self.bind = function.bind


def _rebuild(function: types.FunctionType, options: Mapping[str, Any]) -> RemoteFunction:
    return RemoteFunction(function, options)


def _is_generator(function: types.FunctionType) -> bool:
    return bool(function.__code__.co_flags & _YIELDS)


def _is_coroutine(function: types.FunctionType) -> bool:
    if not vars(function):
        return bool(function.__code__.co_flags & _IS_COROUTINE)
    import inspect  # one may be marked as such

    return inspect.iscoroutinefunction(function)


def _make(function_or_class: Any, options: Mapping[str, Any]) -> RemoteFunction | ActorClass:
    if isinstance(function_or_class, type):
        return make_actor_class(function_or_class, options)
    if not isinstance(function_or_class, types.FunctionType):
        raise TypeError("The @ray.remote decorator must be applied to either a function or a class.")
    if _is_coroutine(function_or_class):
        raise ValueError(
            "'async def' should not be used for remote tasks. You can wrap the async function with "
            "`asyncio.run(f())`. See more at: https://docs.ray.io/en/latest/ray-core/actors/async_api.html "
        )
    validate_task_options(options, in_options=False, is_generator_callable=_is_generator(function_or_class))
    return RemoteFunction(function_or_class, options)


def remote(*args: Any, **kwargs: Any) -> Any:
    """Make a function remote: ``@remote``, or ``@remote(num_cpus=..., num_returns=..., max_retries=...)``.

    Args:
        *args: The function, when used without options.
        **kwargs: Options of its calls, with Ray's names and defaults.

    Returns:
        A RemoteFunction, or with options a decorator that makes one.

    Raises:
        ValueError: An unknown option, a bad value, or an ``async def``.
        TypeError: A value of a wrong type.
    """
    if len(args) == 1 and not kwargs and callable(args[0]):
        return _make(args[0], {})
    if args or not kwargs:
        raise AssertionError(  # the type that Ray raises here
            "The @ray.remote decorator must be applied either with no arguments and no parentheses, for example "
            "'@ray.remote', or it must be applied using some of the arguments in the list, for example "
            "'@ray.remote(num_returns=2)'."
        )
    return lambda function_or_class: _make(function_or_class, kwargs)
