# _api/accelerators.py - get_gpu_ids, and the accelerators of the runtime context.
"""Which accelerators a task holds."""

from __future__ import annotations

from miniray import _miniray_core as core
from miniray._runtime import gpus

_OTHER_FAMILIES = ("FURIOSA", "HPU", "MBLT", "NPU", "RBLN", "TPU", "TTNPU", "neuron_cores")  # as in Ray; never any here


def get_gpu_ids() -> list[int] | list[str]:
    """Return the GPUs that the running task or actor holds; starts a session.

    Returns:
        Their numbers; where CUDA_VISIBLE_DEVICES was set when the program started, its entries. Empty in the driver.
    """
    core._require_session()
    return gpus.own_numbers()


def accelerator_ids() -> dict[str, list[str]]:
    """Return the accelerators that the running task or actor holds, by family."""
    return {"GPU": gpus.own_names(), **{family: [] for family in _OTHER_FAMILIES}}
