# _runtime/huge_pages.py - large allocations in workers lie in huge pages.
#
# Why         the kernel proves a death only after it has unmapped the memory of the dead: 100 MB in small pages take it
#             6 ms, in huge pages a fraction of one. First touches of large blocks get faster too.
# Invariants  H1 only the supervisor and the workers forked from it are told; programs that tasks start see the
#                environment of the driver.
#             H2 who sets glibc.malloc.hugetlb decides; other systems and C libraries ignore the variable.
# Source      glibc manual, "Memory Allocation Tunables"; glibc 2.35 and newer.
"""Environment of the supervisor."""

from __future__ import annotations

import os

__all__ = ["restore_environment", "supervisor_environment"]

_VARIABLE = "GLIBC_TUNABLES"
_TUNABLE = "glibc.malloc.hugetlb"


def supervisor_environment() -> tuple[dict[str, str], str | None]:
    """Return the environment to start a supervisor with, and the driver's value of what differs in it."""
    own = os.environ.get(_VARIABLE)
    environment = dict(os.environ)
    if own is None or _TUNABLE not in own:
        environment[_VARIABLE] = f"{own}:{_TUNABLE}=1" if own else f"{_TUNABLE}=1"
    return environment, own


def restore_environment(own: str | None) -> None:
    """Give this process, a supervisor, the driver's value again; the allocator has read its own at the start."""
    if own is None:
        os.environ.pop(_VARIABLE, None)
    else:
        os.environ[_VARIABLE] = own
