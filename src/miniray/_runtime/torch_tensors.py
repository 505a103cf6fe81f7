# _runtime/torch_tensors.py - tensors in shared memory, where the program asks for it as in Ray.
#
# Invariant  T1 only with RAY_ENABLE_ZERO_COPY_TORCH_TENSORS=1 in the environment of driver and workers: torch has no
#                read-only tensors, so a write to a shared one ends the process that writes.
# Source     Ray 2.60.0, python/ray/util/tensor_serialization_utils.py.
"""Zero-copy torch tensors."""

from __future__ import annotations

import copyreg
import pickle
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["dumps", "prepare"]

_registered = False


def dumps(
    value: Any, protocol: int | None = None, *, buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None
) -> bytes:
    """Pickle like ``pickle.dumps``, but plain CPU tensors as the numpy arrays over their memory."""
    prepare()
    return pickle.dumps(value, protocol, buffer_callback=buffer_callback)


def prepare() -> None:
    """Make pickle do that, once torch is imported."""
    if not _registered and "torch" in sys.modules:
        _register()


def _register() -> None:
    global _registered
    import torch

    def reduce_tensor(tensor: Any) -> Any:
        is_plain = tensor.device.type == "cpu" and tensor.layout == torch.strided and not tensor.requires_grad
        if not is_plain or tensor.is_quantized or tensor.is_conj() or tensor.is_neg():
            return tensor.__reduce_ex__(5)
        whole = tensor.contiguous()
        if tensor.dtype == torch.bfloat16:  # which numpy does not know
            return _rebuild_tensor, (whole.view(torch.int16).numpy(), "bfloat16")
        return _rebuild_tensor, (whole.numpy(), "")

    copyreg.pickle(torch.Tensor, reduce_tensor)
    _registered = True


def _rebuild_tensor(array: Any, dtype: str) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the array is read-only
        tensor = torch.from_numpy(array)
    return tensor.view(getattr(torch, dtype)) if dtype else tensor
