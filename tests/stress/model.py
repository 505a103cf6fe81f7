# stress/model.py - what every value must be: a pure function of its spec.
#
# Invariants  M1 a spec is (kind, seed, size); the model of the run is the specs of the objects that are alive.
#             M2 only the kind "array" needs numpy: a worker that lives for a tenth of a second has no time to import it.
"""Content of the soak's objects."""

from __future__ import annotations

import random
from typing import Any

MEGABYTE = 1 << 20

Spec = tuple[str, int, int]

KINDS = ("bytes",) * 8 + ("mixed",) * 6 + ("number",) * 5 + ("array",)

_BLOCK = 32 << 10


def pattern(seed: int, size: int) -> bytearray:
    """Return bytes that follow from the seed and differ from block to block."""
    block = random.Random(seed).randbytes(max(1, min(size, _BLOCK)))
    count = -(-size // len(block))
    content = bytearray(block * count)
    content[:: len(block)] = bytes((i * len(block) >> 12) & 255 for i in range(count))
    del content[size:]
    return content


def build(spec: Spec) -> Any:
    """Return the value of a spec."""
    kind, seed, size = spec
    if kind == "bytes":
        return bytes(pattern(seed, size))
    if kind == "number":
        return seed * 7 + size
    if kind == "array":
        import numpy

        return numpy.frombuffer(pattern(seed, size), numpy.uint8)
    return {
        "seed": seed,
        "parts": [pattern(seed, size), bytes(pattern(seed + 1, size // 3))],
        "text": str(seed) * 20,
    }


def is_right(spec: Spec, value: Any) -> bool:
    """Return whether a value is what its spec says, in type and content."""
    kind, _, size = spec
    if kind == "array":
        return value.dtype.str == "|u1" and value.shape == (size,) and bool((value == build(spec)).all())
    expected = build(spec)
    return type(value) is type(expected) and value == expected


def must_be_right(spec: Spec, value: Any, where: str) -> None:
    """Raise unless the value is what its spec says."""
    if not is_right(spec, value):
        raise AssertionError(f"wrong value of {spec} {where}: {str(value)[:200]}")


def derived(specs: list[Spec], size: int) -> Spec:
    """Return the spec of what a task makes of values with these specs."""
    return ("bytes", sum(seed * (i + 3) for i, (_, seed, _) in enumerate(specs)) % (1 << 40), size)


def tree_value(depth: int, seed: int) -> bytes:
    """Return what the task ``tree`` returns."""
    if depth == 0:
        return bytes(pattern(seed, 1000 + seed % 5000))
    return b"".join(tree_value(depth - 1, 2 * seed + i) for i in range(2))
