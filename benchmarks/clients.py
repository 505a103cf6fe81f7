"""Processes that submit beside the driver: what they run gets the engine as its first argument."""

import importlib
from collections.abc import Callable
from typing import Any


def attached_engine(name: str) -> Any:
    """Return the engine of this name, as one that is used and not started here; one for each process."""
    # The engines import this module, so that they can name its functions as tasks.
    known = importlib.import_module("benchmarks.engines").ENGINES
    return _engines.setdefault(name, known[name]())


_engines: dict[str, Any] = {}


def in_client(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(engine, *arguments)``."""
    engine = attached_engine(name)
    with engine.attached():
        return function(engine, *arguments)


class ClientActor:
    """The same by a process that stays."""

    def __init__(self, name: str) -> None:
        self._name = name

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return in_client(self._name, function, *arguments)
