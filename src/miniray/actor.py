# actor.py - Ray's module of actors: ``from miniray.actor import exit_actor``.
"""Actors: their classes, handles and methods, and ``exit_actor``."""

from miniray._api.actor_class import ActorClass, ActorClassInheritanceException
from miniray._api.actor_handle import ActorHandle, ActorMethod
from miniray._api.actors import method
from miniray._runtime.actor_host import exit_actor

__all__ = ["ActorClass", "ActorClassInheritanceException", "ActorHandle", "ActorMethod", "exit_actor", "method"]
