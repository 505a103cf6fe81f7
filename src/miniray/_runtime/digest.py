# _runtime/digest.py - ids that follow from what they name.
#
# Invariants  D1 hashlib is imported at the first digest: it loads OpenSSL, which takes longer than all digests of a
#                start.
"""Digests."""

from __future__ import annotations

__all__ = ["digest"]


def digest(data: bytes, size_bytes: int) -> bytes:
    """Return a digest of that many bytes (BLAKE2b)."""
    from hashlib import blake2b

    return blake2b(data, digest_size=size_bytes).digest()
