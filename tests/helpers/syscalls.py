"""System calls that are refused, as sandboxes and old kernels do: a seccomp filter that a program puts on itself.

``DENY`` is source for the start of a program: ``deny("memfd_create", errno.EPERM)``. Numbers are those of x86-64 and arm64.
"""

from __future__ import annotations

NUMBERS = {
    "x86_64": {
        "membarrier": 324, "memfd_create": 319, "pidfd_open": 434, "pidfd_send_signal": 424, "userfaultfd": 323,
        "fallocate": 285, "madvise": 28, "eventfd2": 290, "epoll_create1": 291, "getrandom": 318, "sched_getaffinity": 204,
        "setpriority": 141, "set_robust_list": 273, "statfs": 137, "fstatfs": 138, "close_range": 436,
    },
    "aarch64": {
        "membarrier": 283, "memfd_create": 279, "pidfd_open": 434, "pidfd_send_signal": 424, "userfaultfd": 282,
        "fallocate": 47, "madvise": 233, "eventfd2": 19, "epoll_create1": 20, "getrandom": 278, "sched_getaffinity": 123,
        "setpriority": 140, "set_robust_list": 99, "statfs": 43, "fstatfs": 44, "close_range": 436,
    },
}  # fmt: skip

DENY = f"""
import ctypes, errno, os, struct
def deny(name, error):
    number = {NUMBERS!r}[os.uname().machine][name]
    filter = [  # linux/filter.h: load the number; equal: refuse; else: allow
        struct.pack("HBBI", 0x20, 0, 0, 0), struct.pack("HBBI", 0x15, 0, 1, number),
        struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | error), struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000),
    ]
    code = ctypes.create_string_buffer(b"".join(filter))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(filter), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    assert prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert prctl(22, 2, ctypes.addressof(program), 0, 0) == 0, ctypes.get_errno()  # PR_SET_SECCOMP: filter
"""
