"""Limits of open files and processes: what is refused beforehand, and what an error says."""

from __future__ import annotations

import errno
import os
import resource

import pytest

from miniray._runtime import limits


@pytest.fixture
def soft_limits(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Give the soft limits of a user who is not root; none is the default."""
    given: dict[int, int] = {}
    monkeypatch.setattr(
        resource, "getrlimit", lambda which: (given.get(which, resource.RLIM_INFINITY), resource.RLIM_INFINITY)
    )
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    return given


def test_without_limits_nothing_is_refused(soft_limits: dict[int, int]) -> None:
    limits.check(10_000)


def test_too_few_descriptors_are_refused(soft_limits: dict[int, int]) -> None:
    soft_limits[resource.RLIMIT_NOFILE] = 200
    limits.check(10)
    with pytest.raises(
        OSError, match=r"100 workers need about 2\d\d open files .* may have 200 \(RLIMIT_NOFILE\)"
    ) as caught:
        limits.check(100)
    assert caught.value.errno == errno.EMFILE
    assert "ulimit -n 1024" in str(caught.value)


def test_too_few_processes_are_refused(soft_limits: dict[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    soft_limits[resource.RLIMIT_NPROC] = 50
    limits.check(10)
    text = r"100 workers need 302 processes and threads, but this user may have 50 and has 0 \(RLIMIT_NPROC\)"
    with pytest.raises(BlockingIOError, match=text):
        limits.check(100)
    monkeypatch.setattr(os, "geteuid", lambda: 0)  # root is exempt
    limits.check(100)


def test_threads_of_the_user_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits._own_threads() >= 1


def test_unreadable_facts_refuse_nothing(soft_limits: dict[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "listdir", fail)
    soft_limits[resource.RLIMIT_NOFILE] = 64
    limits.check(2)
    monkeypatch.setattr(resource, "getrlimit", fail)
    limits.check(10_000)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "cannot run: Too many open files: .* (RLIMIT_NOFILE)"),
        (OSError(errno.ENFILE, "Too many"), "fs.file-max"),
        (OSError(errno.EAGAIN, "Try again"), "RLIMIT_NPROC: no limit; pids.max"),
        (RuntimeError("can't start new thread"), "cannot run: can't start new thread: .*RLIMIT_NPROC"),
        (OSError(errno.ENOMEM, "No memory"), "RLIMIT_AS: no limit"),
        (FileNotFoundError(errno.ENOENT, "No such file", "python"), "cannot run: .*No such file.*'python'"),
    ],
)
def test_error_names_the_limit(soft_limits: dict[int, int], error: OSError | RuntimeError, text: str) -> None:
    told = limits.explain(error, "run")
    assert told.errno == getattr(error, "errno", errno.EAGAIN)
    with pytest.raises(OSError, match=text.replace("(", r"\(").replace(")", r"\)")):
        raise told
