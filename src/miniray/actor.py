# actor.py - Ray's module of actors: ``from miniray.actor import exit_actor``.
"""Actors: their classes, handles and methods, and ``exit_actor``."""

from typing import Union

from miniray._api.actor_class import ActorClass, ActorClassInheritanceException
from miniray._api.actor_handle import ActorHandle, ActorMethod
from miniray._api.actors import method
from miniray._runtime.actor_host import exit_actor

__all__ = [
    "ActorClass",
    "ActorClassInheritanceException",
    "ActorHandle",
    "ActorMethod",
    "ActorProxy",
    "exit_actor",
    "method",
]

ActorProxy = Union[ActorHandle, type]  # noqa: UP007 - an alias for annotations, as Ray has it
