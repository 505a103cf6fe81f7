"""The class of remote functions, where Ray has it."""

from miniray._api.remote_function import RemoteFunction

__all__ = ["RemoteFunction"]
