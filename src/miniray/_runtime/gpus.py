# _runtime/gpus.py - the GPUs of the running task: their numbers, and CUDA_VISIBLE_DEVICES.
#
# Invariants  V1 the core says which GPUs a process holds, a bit each. Where CUDA_VISIBLE_DEVICES is set when the
#                program starts, GPU number n is the n-th of its entries.
#             V2 the variable is set while a task or an actor holds GPUs, and is what it was when it holds none.
# Source      Ray 2.60.0, python/ray/_private/utils.py, accelerators/nvidia_gpu.py.
"""GPUs as tasks see them."""

from __future__ import annotations

import os

from miniray import _miniray_core as core

_VARIABLE = "CUDA_VISIBLE_DEVICES"
_KEEP = "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"
_EMPTY_WHEN_NONE = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"

_given = os.environ.get(_VARIABLE)


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true")


def _names(gpus: int) -> list[str]:
    """Return what the driver of the GPUs calls those whose bits are set."""
    numbers = [number for number in range(gpus.bit_length()) if gpus >> number & 1]
    if _given is None:
        return [str(number) for number in numbers]
    entries = [entry for entry in _given.split(",") if entry]
    if all(number < len(entries) for number in numbers):
        return [entries[number] for number in numbers]
    return entries


def own_names() -> list[str]:
    """Return the GPUs that this process's task or actor holds, as CUDA_VISIBLE_DEVICES names them."""
    return _names(core._own_gpus())


def own_numbers() -> list[int] | list[str]:
    """Return the same as numbers, unless CUDA_VISIBLE_DEVICES was set when the program started."""
    names = own_names()
    return names if _given is not None else [int(name) for name in names]


def show(gpus: int) -> None:
    """Set CUDA_VISIBLE_DEVICES for the task that begins.

    Args:
        gpus: Those that it holds, a bit each.
    """
    if _is_set(_KEEP):
        return
    if gpus or _is_set(_EMPTY_WHEN_NONE):
        os.environ[_VARIABLE] = ",".join(_names(gpus))
    elif _given is None:
        os.environ.pop(_VARIABLE, None)
    else:
        os.environ[_VARIABLE] = _given
