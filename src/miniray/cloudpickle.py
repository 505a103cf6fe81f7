# cloudpickle.py - Ray's copy of cloudpickle is here the package itself.
"""The cloudpickle package under Ray's name."""

from __future__ import annotations

from cloudpickle import (
    CloudPickler,
    dump,
    dumps,
    load,
    loads,
    register_pickle_by_value,
    unregister_pickle_by_value,
)

__all__ = [
    "CloudPickler",
    "dump",
    "dumps",
    "load",
    "loads",
    "register_pickle_by_value",
    "unregister_pickle_by_value",
]
