"""Environment of the supervisor."""

import os

import pytest

from miniray._runtime.huge_pages import restore_environment, supervisor_environment


@pytest.mark.parametrize(
    ("own", "given"),
    [
        (None, "glibc.malloc.hugetlb=1"),
        ("", "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.check=1", "glibc.malloc.check=1:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
    ],
)
def test_users_tunables_stay_and_come_back(monkeypatch, own, given):
    if own is None:
        monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    else:
        monkeypatch.setenv("GLIBC_TUNABLES", own)
    environment, kept = supervisor_environment()
    assert environment == {**os.environ, "GLIBC_TUNABLES": given}
    assert kept == own
    monkeypatch.setenv("GLIBC_TUNABLES", given)
    restore_environment(kept)
    assert os.environ.get("GLIBC_TUNABLES") == own
