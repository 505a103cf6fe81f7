"""Facts of the machine, read from folders that look like those of real systems."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from miniray._runtime import machine
from miniray._runtime.machine import StorePlan

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30


@pytest.fixture(autouse=True)
def big_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend to have 64 processors, 40 of them in the affinity mask, and 100 GiB."""
    pages: dict[str, int] = {"SC_PHYS_PAGES": 100 * GIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(40)), raising=False)
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_machine_without_control_groups_is_used_whole(tmp_path: Path) -> None:
    assert machine.cpu_count(tmp_path) == 40
    assert machine.memory_limit_bytes(tmp_path) == 100 * GIB


def test_system_without_affinity_masks_counts_its_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.cpu_count(tmp_path) == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.cpu_count(tmp_path) == 1


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        ("400000 100000\n", 4),
        ("150000 100000\n", 1),
        ("10000 100000\n", 1),
        ("max 100000\n", 40),
        ("9900000 100000\n", 40),
        ("", 40),
        ("what is this", 40),
        ("100000 0", 40),
    ],
)
def test_quota_of_version_two_limits_the_processors(tmp_path: Path, cpu_max: str, expected: int) -> None:
    root = _write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": cpu_max})
    assert machine.cpu_count(root) == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("-1", 40), ("50000", 1), ("0", 40)])
def test_quota_of_version_one_limits_the_processors(tmp_path: Path, quota: str, expected: int) -> None:
    root = _write(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpuacct:/\n4:cpu:/\n0::/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": f"{quota}\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    )
    assert machine.cpu_count(root) == expected


def test_joined_controllers_of_version_one_are_found(tmp_path: Path) -> None:
    root = _write(
        tmp_path,
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/docker/1234\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/1234/cpu.cfs_quota_us": "200000",
            "sys/fs/cgroup/cpu,cpuacct/docker/1234/cpu.cfs_period_us": "100000",
        },
    )
    assert machine.cpu_count(root) == 2


def test_smallest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    root = _write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice/job.scope\n",
            "sys/fs/cgroup/user.slice/cpu.max": "200000 100000",
            "sys/fs/cgroup/user.slice/memory.max": str(8 * GIB),
            "sys/fs/cgroup/user.slice/job.scope/cpu.max": "500000 100000",
            "sys/fs/cgroup/user.slice/job.scope/memory.max": "max",
        },
    )
    assert machine.cpu_count(root) == 2
    assert machine.memory_limit_bytes(root) == 8 * GIB


def test_folder_of_the_host_that_a_container_does_not_see_is_skipped(tmp_path: Path) -> None:
    root = _write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/../../kubepods/pod1234\n",
            "sys/fs/cgroup/cpu.max": "200000 100000",
            "sys/fs/cgroup/memory.max": str(4 * GIB),
        },
    )
    assert machine.cpu_count(root) == 2
    assert machine.memory_limit_bytes(root) == 4 * GIB


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(str(2 * GIB), 2 * GIB), ("9223372036854771712", 100 * GIB), ("-1", 100 * GIB), ("", 100 * GIB)],
)
def test_limit_of_version_one_limits_the_memory(tmp_path: Path, limit: str, expected: int) -> None:
    root = _write(
        tmp_path, {"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{limit}\n"}
    )
    assert machine.memory_limit_bytes(root) == expected


def test_system_that_does_not_tell_its_memory_counts_as_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: -1)
    assert machine.memory_limit_bytes(tmp_path) == GIB


def _shared_memory(monkeypatch: pytest.MonkeyPatch, free_bytes: int | None) -> None:
    """Let /dev/shm have that much free; None: there is none."""

    def statvfs(folder: Any) -> os.statvfs_result:
        assert folder == "/dev/shm"
        if free_bytes is None:
            raise FileNotFoundError(folder)
        return os.statvfs_result((4096, 4096, 0, 0, free_bytes // 4096, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)


def test_store_gets_its_share_of_the_memory_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _shared_memory(monkeypatch, 50 * GIB)
    root = _write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": str(10 * GIB)})
    plan = machine.plan_store(None, "/dev/shm", root)
    assert plan == StorePlan(
        3 * GIB, False, "The object store has 3.0 GiB: 30% of the 10.0 GiB of memory that this program may use."
    )


def test_store_of_a_huge_machine_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _shared_memory(monkeypatch, 8000 * GIB)
    monkeypatch.setattr(os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 4 << 30)
    plan = machine.plan_store(root=tmp_path)
    assert (plan.size_bytes, plan.anonymous, plan.warning) == (machine.OBJECT_STORE_CAP_BYTES, False, None)
    assert "the most that a store gets by itself" in plan.reason


def test_wanted_size_is_kept_where_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _shared_memory(monkeypatch, 50 * GIB)
    plan = machine.plan_store(40 * GIB, root=tmp_path)
    assert (plan.size_bytes, plan.anonymous, plan.warning) == (40 * GIB, False, None)
    assert plan.reason == "The object store has 40.0 GiB: as object_store_memory says."


@pytest.mark.parametrize(("wanted", "size", "text"), [(None, 30 * GIB, "30.0 GiB"), (2 * GIB, 2 * GIB, "2.0 GiB")])
def test_small_shared_memory_makes_the_store_anonymous(
    wanted: int | None, size: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _shared_memory(monkeypatch, 64 << 20)
    plan = machine.plan_store(wanted, root=tmp_path)
    assert (plan.size_bytes, plan.anonymous) == (size, True)
    assert plan.warning is not None
    assert f"store of {text} does not fit into /dev/shm, because 64.0 MiB are free there" in plan.warning
    assert f"--shm-size={size * 100 // 95 // GIB + 1}g" in plan.warning
    assert "in anonymous memory and not in /dev/shm, because 64.0 MiB are free there" in plan.reason


def test_store_and_tables_leave_a_spare_in_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = int(GIB * machine.SHARED_MEMORY_FRACTION) - machine.TABLE_BYTES
    _shared_memory(monkeypatch, GIB)
    assert not machine.plan_store(room, root=tmp_path).anonymous
    assert machine.plan_store(room + 1, root=tmp_path).anonymous


def test_missing_shared_memory_makes_the_store_anonymous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _shared_memory(monkeypatch, None)
    plan = machine.plan_store(GIB, root=tmp_path)
    assert (plan.size_bytes, plan.anonymous) == (GIB, True)
    assert "/dev/shm does not exist" in str(plan.warning)


def test_store_shrinks_where_there_are_no_anonymous_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    _shared_memory(monkeypatch, 64 << 20)
    plan = machine.plan_store(root=tmp_path)
    assert (plan.size_bytes, plan.anonymous) == (int((64 << 20) * machine.SHARED_MEMORY_FRACTION), False)
    assert "95% of what is free in /dev/shm" in plan.reason
    _shared_memory(monkeypatch, None)
    assert machine.plan_store(GIB, root=tmp_path).size_bytes == GIB


def test_wish_above_the_memory_limit_is_capped_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _shared_memory(monkeypatch, 500 * GIB)
    root = _write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": str(10 * GIB)})
    plan = machine.plan_store(20 * GIB, root=root)
    assert (plan.size_bytes, plan.anonymous) == (8 * GIB, False)
    assert plan.warning is not None
    assert plan.warning.startswith("object_store_memory=21474836480 (20.0 GiB) is more than the 10.0 GiB of memory")
    assert "the object store gets 8.0 GiB" in plan.warning
    assert machine.plan_store(10 * GIB, root=root).warning is None
    _shared_memory(monkeypatch, 64 << 20)
    both = machine.plan_store(20 * GIB, root=root)
    assert both.anonymous
    assert "is more than" in str(both.warning)
    assert "The object store of 8.0 GiB does not fit" in str(both.warning)


def test_missing_shared_memory_file_system_is_told(tmp_path: Path) -> None:
    assert machine.shared_memory_bytes(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("visible", "expected"), [(None, 3), ("", 0), ("NoDevFiles", 0), ("0", 1), ("0,2", 2), ("0,1,2,3", 3)]
)
def test_gpus_are_those_of_the_driver_that_are_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: int
) -> None:
    root = _write(tmp_path, {f"proc/driver/nvidia/gpus/{number}/information": "" for number in range(3)})
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.gpu_count(root) == expected


def test_machine_without_a_gpu_driver_has_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.gpu_count(tmp_path) == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert machine.gpu_count(tmp_path) == 0
