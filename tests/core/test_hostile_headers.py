"""A segment whose header was changed by foreign code: a clear error at attach, or work as before; never a wild write or a hang."""

import os
import resource
import signal
import subprocess

import pytest

from helpers.named_segments import SHARED_MEMORY
from miniray._miniray_core import ObjectStore

MEGABYTE = 1 << 20
HEADER_BYTES = 0xA000  # up to the first table
ALARM_SECONDS = 20  # a watchdog: a hang is a failure


@pytest.fixture
def original(name):
    """Give the bytes of a store with objects in it, which no living process has, and the path for changed ones."""
    path = SHARED_MEMORY / f"miniray_{name}-copy_objectstore"
    with ObjectStore(name=name, capacity=MEGABYTE, max_objects=200) as source:
        refs = [source.put(bytes([i]) * (100 * i + 1)) for i in range(30)]
        for ref in refs[::3]:
            source.delete(ref)
        subprocess.run(["cp", "--sparse=always", SHARED_MEMORY / source.name, path], check=True)
    yield path, contents(path), refs[1]
    path.unlink(missing_ok=True)


def contents(path):
    """Return the parts of a sparse file that hold data: (position, bytes)."""
    parts = []
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        position = 0
        while position < end:
            try:
                start = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError:
                break
            position = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            parts.append((start, os.pread(file.fileno(), position - start, start)))
    return parts


def use(path, ref):
    """Open the segment and use it, in a child; return its exit status: 0 right, 1 a clear error, else a signal."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            signal.alarm(ALARM_SECONDS)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            try:
                with ObjectStore(create=False, name=path.name) as store:
                    store.get(ref)
                    for size in (10, 3000, 50_000, 200_000):
                        store.delete(store.put(bytes(size)))
                    code = 0
            except (RuntimeError, PermissionError, KeyError, MemoryError, ValueError, OSError):
                code = 1
            except Exception as error:  # ObjectStoreFullError
                code = 1 if type(error).__module__.startswith("miniray") else 4
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def flip_each(original, positions):
    """Return where a flipped byte led to which outcome."""
    path, parts, ref = original
    assert use(path, ref) == 0
    header = parts[0][1].ljust(HEADER_BYTES, b"\0")  # its end is a hole
    outcomes = {}
    with path.open("r+b", buffering=0) as file:
        for position in positions:
            for start, data in parts:  # what the child before has changed
                os.pwrite(file.fileno(), data, start)
            os.pwrite(file.fileno(), bytes([header[position] ^ 0xFF]), position)
            outcomes.setdefault(use(path, ref), []).append(position)
            os.pwrite(file.fileno(), header[position : position + 1], position)
    return outcomes


def test_each_byte_of_the_first_part_of_the_header(original):
    outcomes = flip_each(original, range(256))
    assert set(outcomes) <= {0, 1}, {code: places[:5] for code, places in outcomes.items()}
    assert len(outcomes[1]) > 100


@pytest.mark.slow
def test_each_byte_of_the_header_that_is_in_use(original):
    outcomes = flip_each(original, range(256, 4096))
    assert set(outcomes) <= {0, 1}, {code: places[:5] for code, places in outcomes.items()}
    assert len(outcomes[1]) > 1000
