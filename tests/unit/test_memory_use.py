"""Memory in use and the kernel's kills, from files of a made-up machine."""

import os
import subprocess
import sys

import pytest

from miniray._runtime.memory_use import KernelKills, memory_use, own_bytes


@pytest.fixture
def write(tmp_path):
    def write_file(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path

    write_file("proc/meminfo", "MemTotal:  1000 kB\nMemFree:  10 kB\nMemAvailable:  400 kB\n")
    return write_file


def test_machine_alone(write):
    use = memory_use(write("proc/self/cgroup", ""))
    assert (use.used_bytes, use.limit_bytes, use.place) == (600 * 1024, 1000 * 1024, "this machine")
    assert use.fraction == pytest.approx(0.6)


def test_nothing_can_be_read(tmp_path):
    assert memory_use(tmp_path) is None
    assert own_bytes(1, tmp_path) == 0
    assert not KernelKills(tmp_path).take()


def test_nearest_limit_counts_and_pages_of_files_do_not(write):
    write("proc/self/cgroup", "0::/outer/inner\n")
    write("sys/fs/cgroup/outer/memory.max", "1000000")
    write("sys/fs/cgroup/outer/memory.current", "950000")
    write("sys/fs/cgroup/outer/memory.stat", "anon 5\ninactive_file 30000\nactive_file 20000\n")
    write("sys/fs/cgroup/outer/inner/memory.max", "max")
    use = memory_use(write("sys/fs/cgroup/outer/inner/memory.current", "900000"))
    assert (use.used_bytes, use.limit_bytes) == (900_000, 1_000_000)
    assert use.place.endswith("/outer")


def test_version_one(write):
    write("proc/self/cgroup", "5:memory:/job\n")
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", str(2**63 - 4096))
    write("sys/fs/cgroup/memory/memory.usage_in_bytes", "1")
    write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1000")
    write("sys/fs/cgroup/memory/job/memory.stat", "total_inactive_file 100\ninactive_file 5\n")
    use = memory_use(write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "900"))
    assert (use.used_bytes, use.limit_bytes) == (800, 1000)


@pytest.mark.parametrize(
    ("group", "file", "text"),
    [
        ("0::/job\n", "sys/fs/cgroup/job/memory.events", "oom 9\noom_kill {}\n"),
        ("5:memory:/job\n", "sys/fs/cgroup/memory/job/memory.oom_control", "under_oom 0\noom_kill {}\n"),
        ("", "proc/vmstat", "pgfree 7\noom_kill {}\n"),
    ],
    ids=["version 2", "version 1", "machine"],
)
def test_each_kill_is_told_once(write, group, file, text):
    write("proc/self/cgroup", group)
    kills = KernelKills(write(file, text.format(3)))
    assert not kills.take()
    write(file, text.format(5))
    assert [kills.take() for _ in range(3)] == [True, True, False]


def test_own_memory_of_a_process_grows_with_what_it_holds():
    program = "import sys; block = b'x' * (30 << 20); print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert own_bytes(process.pid) > 30 << 20
    assert own_bytes(os.getpid()) > 0
