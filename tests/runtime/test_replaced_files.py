"""Folders and files that a running program uses are removed or replaced; and what a killed driver leaves on the disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

import miniray
from helpers.states import is_gone, wait_until
from miniray._runtime import runtime

PROGRAM = """
import pathlib, shutil
from miniray.exceptions import RaySystemError
folder = pathlib.Path({folder!r})
assert ray.__file__.startswith(str(folder))
ray.init(num_cpus=1, object_store_memory=8 << 20)
f = ray.remote(lambda: os.getpid())
def number_of(kind): return [pid for pid, found, _, _ in core._processes() if found == kind]
def error_of(ref):
    try: return f"value {{ray.get(ref)}}"
    except RaySystemError as error: return str(error)
first = ray.get(f.remote())
"""


@pytest.fixture
def start_copy(start_program, tmp_path):
    """Start a program with a copy of the package, which it may spoil."""
    package = Path(miniray.__file__).parent
    shutil.copytree(package, tmp_path / "miniray", ignore=shutil.ignore_patterns("__pycache__"))

    def start(source):
        return start_program(PROGRAM.format(folder=str(tmp_path)) + source, PYTHONPATH=str(tmp_path))

    return start


def test_workers_are_replaced_while_the_package_is_away(start_copy):
    program = start_copy(
        "(folder / 'miniray').rename(folder / 'away')\n"
        "os.kill(first, 9)\n"
        "print(ray.get(f.remote()) != first)\n"
        "ray.shutdown()\n"
    )
    assert program.finish() == (0, "True\n", "")


def test_supervisor_that_cannot_load_the_package_is_told_and_works_again_when_it_is_mended(start_copy):
    """The package was replaced by another version, as an upgrade under a running program does."""
    program = start_copy(
        "source = folder / 'miniray' / '__init__.py'\n"
        "kept = source.read_text()\n"
        "source.write_text('raise ImportError(\"miniray was upgraded\")\\n')\n"
        "os.kill(first, 9)\n"
        "second = ray.get(f.remote())\n"
        "print(second != first)\n"  # forked: still the old one
        "os.kill(number_of(2)[0], 9)\n"
        "print(ray.get(f.remote()) == second)\n"  # the worker lives and serves
        "os.kill(second, 9)\n"
        "print(error_of(f.remote())); print('--')\n"
        "source.write_text(kept)\n"
        "print(error_of(f.remote()).startswith('value'))\n"
        "ray.shutdown()\n"
    )
    code, out, err = program.finish()
    assert code == 0, err
    told, mended = out.split("--\n")
    assert told.startswith("True\nTrue\n")
    assert "no supervisor can be started" in told
    assert "ImportError: miniray was upgraded" in told
    assert mended == "True\n"


def test_working_folder_may_go(start_program, tmp_path):
    program = start_program(
        f"folder = {str(tmp_path / 'gone')!r}\n"
        "os.mkdir(folder); os.chdir(folder)\n"
        "ray.init(num_cpus=1, object_store_memory=8 << 20)\n"
        "f = ray.remote(lambda: os.getpid())\n"
        "first = ray.get(f.remote())\n"
        "os.rmdir(folder)\n"
        "os.kill(first, 9)\n"
        "second = ray.get(f.remote())\n"
        "os.kill(next(pid for pid, kind, _, _ in core._processes() if kind == 2), 9)\n"
        "os.kill(second, 9)\n"
        "print(len({first, second, ray.get(f.remote())}))\n"
        "ray.shutdown()\n"
        "with ray.init(num_cpus=1, object_store_memory=8 << 20): print(ray.get(f.remote()) > 0)\n"  # from nowhere
    )
    assert program.finish() == (0, "3\nTrue\n", "")


def test_module_of_the_user_may_be_replaced(start_program, tmp_path):
    """A worker has the module as it was when a task first needed it; a new one reads the new file."""
    (tmp_path / "theirs.py").write_text("def version(): return 1\n")
    program = start_program(
        "import theirs\n"
        "ray.init(num_cpus=1, object_store_memory=8 << 20)\n"
        "@ray.remote\n"
        "def f():\n"
        "    import theirs\n"
        "    return os.getpid(), theirs.version()\n"
        "first, version = ray.get(f.remote())\n"
        "print(version)\n"
        "with open(theirs.__file__, 'w') as file: file.write('def version(): return 20 + 2\\n')\n"
        "os.kill(first, 9)\n"
        "print(ray.get(f.remote())[1])\n"
        "os.unlink(theirs.__file__)\n"
        "os.kill(ray.get(f.remote())[0], 9)\n"
        "try: ray.get(f.remote())\n"
        "except ModuleNotFoundError as error: print('told', 'theirs' in str(error))\n"
        "ray.shutdown()\n",
        PYTHONPATH=str(tmp_path),
        PYTHONDONTWRITEBYTECODE="1",
    )
    assert program.finish() == (0, "1\n22\ntold True\n", "")


@pytest.mark.needs_root
@pytest.mark.parametrize("victims", ["driver", "all"])
def test_killed_program_leaves_no_block_on_the_disk(start_program, tmp_path, victims):
    """The folder of spilled objects is a file system of its own, so that nobody else changes what is free there."""
    folder = tmp_path / "disk"
    folder.mkdir()
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=64m tmpfs "$1" && echo there && exec sleep 600', "sh", folder],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == b"there\n"
        seen = Path(f"/proc/{holder.pid}/root{folder}")

        def free_blocks():
            return os.statvfs(seen).f_bfree

        before = free_blocks()
        program = start_program(
            f"ray.init(num_cpus=1, object_store_memory=8 << 20, object_spilling_directory={str(folder)!r})\n"
            "refs = [ray.put(bytes([i]) * 4_000_000) for i in range(8)]\n"
            "assert core._statistics()['spilled_bytes'] > 10_000_000\n"
            "while len(core._processes()) < 3: time.sleep(0.001)\n"
            "ready()\n"
            "sys.stdin.read()\n",
            prefix=["nsenter", "--mount", "--target", str(holder.pid)],
        )
        program.wait_ready()
        assert before - free_blocks() > 10_000_000 // os.statvfs(seen).f_frsize
        assert os.listdir(seen) == []
        for pid in (program.process.pid, *program.others) if victims == "all" else [program.process.pid]:
            os.kill(pid, signal.SIGSTOP)  # nobody clears up
        for pid in (program.process.pid, *program.others) if victims == "all" else [program.process.pid]:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(map(is_gone, [program.process.pid, *program.others])), "all are gone")
        wait_until(lambda: free_blocks() == before, "the disk is as it was")
        runtime.remove_stale_sessions()  # which init does
        program.expect_nothing_left()
    finally:
        holder.kill()
        holder.communicate()
