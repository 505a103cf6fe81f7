"""System calls that a sandbox or an old kernel refuses: the session works without them, or ``init`` says what is missing."""

from __future__ import annotations

import pytest

from helpers.syscalls import DENY

WORKS = """
ray.init(num_cpus=2, object_store_memory=64 << 20)
ready()
f = ray.remote(lambda i: i)
assert ray.get([f.remote(i) for i in range(200)]) == list(range(200))
for pid in [pid for pid, kind, _, _ in core._processes() if kind == 3]: os.kill(pid, 9)
assert len(ray.get(ray.remote(lambda: bytes(5_000_000)).remote())) == 5_000_000
refs = [ray.put(bytes([i]) * 8_000_000) for i in range(12)]  # more than there is room for
assert all(ray.get(ref) == bytes([i]) * 8_000_000 for i, ref in enumerate(refs))
assert core._validate() is None
ray.shutdown()
print("works")
"""


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("memfd_create", "EPERM"),
        ("membarrier", "ENOSYS"),
        ("userfaultfd", "EPERM"),
        ("madvise", "ENOSYS"),
        ("getrandom", "ENOSYS"),
        ("sched_getaffinity", "EPERM"),
        ("setpriority", "EPERM"),
        ("set_robust_list", "ENOSYS"),
    ],
)
def test_session_works_without(start_program, call, error):
    program = start_program(f"{DENY}deny({call!r}, errno.{error})\n{WORKS}")
    program.wait_ready()
    assert program.finish() == (0, "works\n", "")
    program.expect_nothing_left()


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        ("pidfd_open", "ENOSYS", "the system call pidfd_open is refused here"),
        ("pidfd_send_signal", "EPERM", "the system call pidfd_send_signal is refused here"),
        ("fallocate", "EPERM", "the system refuses to make or to map miniray_"),
        ("eventfd2", "ENOSYS", "cannot start the session: "),
        ("epoll_create1", "EPERM", "cannot start the session: "),
    ],
)
def test_session_that_cannot_do_without_says_so(start_program, pytestconfig, call, error, told):
    program = start_program(
        f"{DENY}deny({call!r}, errno.{error})\n"
        "from helpers.states import children, sessions_of_ours\n"
        "try: ray.init(num_cpus=1)\n"
        "except OSError as problem: print(problem)\n"
        "assert not children() and not sessions_of_ours()\n",
        PYTHONPATH=str(pytestconfig.rootpath / "tests"),
    )
    code, out, err = program.finish()
    assert (code, err) == (0, "")
    assert told in out
    assert "seccomp" in out
