"""A /dev/shm that is too small for the store, as in containers: the store is in memory without a name."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from helpers.small_machines import in_small_shared_memory
from helpers.states import is_gone, wait_until

pytestmark = pytest.mark.needs_root

WARNING = "does not fit into /dev/shm, because 64.0 MiB are free there"


@pytest.fixture(scope="module")
def small():
    return in_small_shared_memory("64m")


def holders(session):
    """Return the processes that have a segment of the session open or mapped."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            names = [os.readlink(entry) for entry in (process / "fd").iterdir()]
            if any(session in name for name in (*names, (process / "maps").read_text())):
                found.add(int(process.name))
        except OSError:
            continue
    return found


MANY_ARRAYS = """
import signal
import numpy as np
def living(kind):
    return [pid for pid, found, _, _ in core._processes() if found == kind]
def wait_until(condition):
    while not condition(): time.sleep(0.005)
@ray.remote
def double(array):
    return array * 2
@ray.remote
def total(array):
    return int(array.sum())
arrays = [np.full(12_500_000, i) for i in range(3)]
with ray.init(num_cpus=2):
    ready()
    refs = [ray.put(array) for array in arrays]
    assert all((ray.get(ref) == array).all() for ref, array in zip(refs, arrays))
    sums = ray.get([total.remote(double.remote(ref)) for ref in refs])
    os.kill(living(3)[0], signal.SIGKILL)
    sums += ray.get([total.remote(double.remote(ref)) for ref in refs])
    old = living(2)
    os.kill(old[0], signal.SIGKILL)
    wait_until(lambda: len(living(2)) == 1 and living(2) != old)
    for pid in living(3): os.kill(pid, signal.SIGKILL)
    sums += ray.get([total.remote(double.remote(ref)) for ref in refs])
    assert core._validate() is None
    print(sums, [bool((ray.get(ref) == array).all()) for ref, array in zip(refs, arrays)], os.listdir("/dev/shm"))
    others = [pid for pid, _, _, _ in core._processes() if pid != os.getpid()]
left = {name for name in map(os.readlink, (f"/proc/self/fd/{fd}" for fd in range(64) if os.path.exists(f"/proc/self/fd/{fd}")))}
print([pid for pid in others if os.path.exists(f"/proc/{pid}")], [name for name in left if "memfd" in name])
"""


def test_large_arrays_survive_the_deaths_of_workers_and_supervisor(small, start_program):
    program = start_program(MANY_ARRAYS, prefix=small, warnings=True)
    program.wait_ready()
    code, out, err = program.finish()
    sums = [i * 25_000_000 for _ in range(3) for i in range(3)]
    assert (code, out) == (0, f"{sums} {[True] * 3} []\n[] []\n"), err
    assert err.count(WARNING) == 1
    assert len(err.splitlines()) == 1
    assert not holders(program.session)


@pytest.mark.parametrize("everybody", [False, True], ids=["driver", "everybody"])
def test_killed_programs_leave_no_process_and_no_memory(small, start_program, everybody):
    program = start_program(
        "ray.init(num_cpus=2)\n"
        "kept = ray.put(bytes(200_000_000))\n"
        "ray.get([ray.remote(lambda x: len(x)).remote(kept) for _ in range(4)])\n"
        "while len(core._processes()) < 4: time.sleep(0.005)\n"  # both workers too
        "ready()\n"
        "ray.get(ray.remote(lambda: time.sleep(600)).remote())\n",
        prefix=small,
    )
    program.wait_ready()
    pids = (program.process.pid, *program.others)
    assert holders(program.session) == set(pids)
    killed = pids if everybody else pids[:1]
    for pid in killed:
        os.kill(pid, signal.SIGSTOP)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    program.process.wait()
    wait_until(lambda: all(map(is_gone, program.others)), "the processes end")
    assert not holders(program.session)


def test_programs_that_a_task_starts_inherit_no_segment(small, start_program):
    program = start_program(
        "import subprocess\n"
        "ray.init(num_cpus=1)\n"
        "list_files = lambda: subprocess.run(['ls', '-l', '/proc/self/fd'], close_fds=False, capture_output=True).stdout\n"
        "print(*(b'memfd' in ray.get(ray.remote(list_files).remote()), b'memfd' in list_files()))\n"
        "info = ray.init(ignore_reinit_error=True)\n"
        "print(info['object_store_address'] == f\"memfd:miniray_{info['session_name']}_objectstore\")\n"
        "print('in anonymous memory' in runtime.explain_store())\n",
        prefix=small,
    )
    code, out, err = program.finish()
    assert (code, out) == (0, "False False\nTrue\nTrue\n"), err


def test_store_that_fits_stays_in_shared_memory_without_a_warning(small, start_program):
    program = start_program(
        "ray.init(num_cpus=1, object_store_memory=8 << 20)\n"
        "print(len(os.listdir('/dev/shm')), ray.get(ray.remote(lambda x: len(x)).remote(bytes(5_000_000))))\n"
        "ray.shutdown()\n"
        "print(os.listdir('/dev/shm'))\n",
        prefix=small,
        warnings=True,
    )
    assert program.finish() == (0, "2 5000000\n[]\n", "")


# Somebody else's file takes what the store has not reserved yet.
FILLED_FROM_OUTSIDE = """
import numpy as np
def array(i):
    return np.random.default_rng(i).integers(0, 256, 2_000_000, np.uint8)
ray.init(num_cpus=2, object_store_memory=24 << 20, **eval(os.environ["OPTIONS"]))
assert len(os.listdir("/dev/shm")) == 2
refs = [ray.put(array(i)) for i in range(3)]
ray.get([total for total in [ray.remote(lambda: 1).remote() for _ in range(20)]])
with open("/dev/shm/somebody-else", "wb", buffering=0) as file:
    while True:
        try:
            file.write(bytes(4096))
        except OSError:
            break
    file.truncate(file.tell() - int(os.environ["LEFT"]))
first = sorted(pid for pid, *_ in core._processes())
full = 0
for i in range(3, 3 + int(os.environ["COUNT"])):
    try:
        ref = ray.put(array(i)) if i % 2 else ray.remote(array).remote(i)
        ray.get(ref)
        refs.append(ref)
    except ray.exceptions.ObjectStoreFullError:
        full += 1
print(full, core._statistics()["spilled_bytes"] > 30_000_000, core._validate())
if not full:
    print(all((ray.get(ref) == array(i)).all() for i, ref in enumerate(refs)), len(refs))
os.unlink("/dev/shm/somebody-else")
print(sorted(pid for pid, *_ in core._processes()) == first, (ray.get(ray.put(array(99))) == array(99)).all())
ray.shutdown()
print(os.listdir("/dev/shm"))
"""


# With some room for the tables objects are spilled; without, no place in the file can be noted.
def test_shared_memory_filled_by_others_means_spilling_and_never_a_bus_error(small, start_program, tmp_path):
    pytest.importorskip("numpy")
    options = repr({"object_spilling_directory": str(tmp_path)})
    program = start_program(FILLED_FROM_OUTSIDE, prefix=small, OPTIONS=options, COUNT="30", LEFT="1500000")
    assert program.finish() == (0, "0 True None\nTrue 33\nTrue True\n[]\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("options", ["{}", "{'object_spilling_limit': 0}"])
def test_shared_memory_full_to_the_last_page_is_an_error_and_never_a_bus_error(small, start_program, options):
    pytest.importorskip("numpy")
    program = start_program(FILLED_FROM_OUTSIDE, prefix=small, OPTIONS=options, COUNT="3", LEFT="0")
    code, out, err = program.finish()
    assert (code, err) == (0, "")
    full, *rest = out.split(" ", 1)
    assert int(full) == 3
    assert rest == ["False None\nTrue True\n[]\n"]
