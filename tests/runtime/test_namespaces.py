"""Sessions beside others in other namespaces, numbers of processes that are used again, clocks that jump."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from helpers.containers import in_namespaces, output_of
from helpers.programs import standing_still
from helpers.states import segments

BUSY = """
ray.init(num_cpus=1, object_store_memory=8 << 20)
ray.get(ray.remote(lambda: 1).remote())
ready()
sys.stdin.read()
print(ray.get(ray.remote(lambda: "lives").remote()))
"""

# Attaches to the session that is named, judges it, clears up as init does.
STRANGER = """
import sys
from miniray import _miniray_core as core
from miniray._runtime import runtime
try: core._session_attach(sys.argv[1], "worker")
except RuntimeError as error: print(error)
print(core._session_inspect(sys.argv[1]))
print([leftover.name for leftover in runtime.remove_stale_sessions() if sys.argv[1] in leftover.name])
"""


@pytest.mark.needs_root
@pytest.mark.parametrize("options", [["--pid"], ["--fork", "--time", "--boottime=864000", "--monotonic=86400"]])
def test_session_in_another_namespace_is_left_alone(start_program, options):
    program = start_program(BUSY)
    program.wait_ready()
    told = output_of([*in_namespaces(*options), sys.executable, "-c", STRANGER, program.session]).splitlines()
    assert "was made in another process or time namespace (a container)" in told[0]
    assert told[1:] == ["-1", "[]"]
    assert sum(program.session in name for name in segments()) == 2
    assert program.finish() == (0, "lives\n", "")
    program.expect_nothing_left()


@pytest.mark.needs_root
def test_session_lives_in_a_time_namespace(start_program):
    program = start_program(
        "uptime = float(open('/proc/uptime').read().split()[0])\n"
        "assert uptime > 864000\n"
        "ray.init(num_cpus=2, object_store_memory=8 << 20)\n"
        "ray.get(ray.remote(lambda: 1).remote())\n"
        "for pid in [pid for pid, kind, _, _ in core._processes() if kind == 3]: os.kill(pid, 9)\n"
        "assert ray.get([ray.remote(lambda i: i).remote(i) for i in range(99)]) == list(range(99))\n"
        "ray.shutdown()\n"
        "print(os.listdir('/dev/shm'))\n",
        prefix=in_namespaces("--mount", "--time", "--boottime=864000", "--monotonic=864000"),
    )
    assert program.finish() == (0, "[]\n", "")


LOW_LEVEL = """
import sys
from miniray import _miniray_core as core
try: core.ObjectStore(create=True, name=sys.argv[1], capacity=1 << 20)
except RuntimeError as error: print(error)
print(core._unlink_if_dead(f"miniray_{sys.argv[1]}_objectstore"))
"""


@pytest.mark.needs_root
@pytest.mark.parametrize("options", [["--pid"], ["--fork", "--time", "--boottime=864000"]])
def test_store_in_another_namespace_is_not_taken_over(options):
    from miniray import _miniray_core as core

    name = f"namespaces-{os.getpid()}"
    with core.ObjectStore(create=True, name=name, capacity=1 << 20) as store:
        ref = core.ObjectRef()
        store.put(b"here", ref)
        told = output_of([*in_namespaces(*options), sys.executable, "-c", LOW_LEVEL, name]).splitlines()
        assert "another process or time namespace" in told[0]
        assert told[1] == "False"
        assert store.get(ref) == b"here"


# A worker of a restarted supervisor is nobody's child any more, so its number is free when it has ended. The supervisor, which
# would see that at once, is stopped meanwhile.
USED_AGAIN = """
import signal, subprocess
from miniray.exceptions import WorkerCrashedError
ray.init(num_cpus=1, object_store_memory=8 << 20)
def number_of(kind): return [pid for pid, found, _, _ in core._processes() if found == kind]
ray.get(ray.remote(lambda: 1).remote())
old, = number_of(2)
os.kill(old, signal.SIGKILL)
while len(found := number_of(2)) != 1 or found == [old]: time.sleep(0.001)
supervisor, (worker,) = found[0], number_of(3)
ref = ray.remote(max_retries=0)(lambda: time.sleep(600)).remote()
os.kill(supervisor, signal.SIGSTOP)
os.kill(worker, signal.SIGKILL)
while os.path.exists(f"/proc/{worker}"): time.sleep(0.001)
for _ in range(100):
    with open("/proc/sys/kernel/ns_last_pid", "w") as last: last.write(str(worker - 1))
    stranger = subprocess.Popen(["sleep", "600"])
    if stranger.pid == worker: break
    stranger.kill(); stranger.wait()
assert stranger.pid == worker, (stranger.pid, worker)
assert core._processes()  # with the row of the dead one
os.kill(supervisor, signal.SIGCONT)
try: ray.get(ref)
except WorkerCrashedError as error: print("the task's worker died")
assert core._validate() is None
print(ray.get(ray.remote(lambda: os.getpid()).remote()) != worker)
ray.shutdown()
print("the stranger lives:", stranger.poll() is None)
stranger.kill(); stranger.wait()
"""


@pytest.mark.needs_root
def test_stranger_with_the_number_of_a_dead_worker_is_no_worker(start_program):
    program = start_program(USED_AGAIN, prefix=in_namespaces("--pid", "--mount"))
    code, out, err = program.finish()
    assert (code, out) == (0, "the task's worker died\nTrue\nthe stranger lives: True\n"), err


# Whoever comes next finds the lock held by a number that belongs to somebody else.
HELD = """
import os, subprocess, sys, time
from miniray import _miniray_core as core
store = core.ObjectStore(create=True, name="again", capacity=1 << 20)
ref = core.ObjectRef()
store.put(b"kept", ref)
victim = subprocess.Popen([sys.executable, "-c",
    "from miniray import _miniray_core as core\\n"
    "store = core.ObjectStore(create=False, name='again')\\n"
    "while True: store.put(b'x', core.ObjectRef())\\n"
], env={**os.environ, "MINIRAY_FAULT": "transaction.before_commit:9=kill"})
assert victim.wait() == -9
for _ in range(100):
    with open("/proc/sys/kernel/ns_last_pid", "w") as last: last.write(str(victim.pid - 1))
    stranger = subprocess.Popen(["sleep", "600"])
    if stranger.pid == victim.pid: break
    stranger.kill(); stranger.wait()
assert stranger.pid == victim.pid
more = core.ObjectRef()
store.put(b"more", more)
print(store.get(ref), store.get(more), store._validate(), stranger.poll())
stranger.kill(); stranger.wait()
store.close()
"""

if site := os.environ.get("MINIRAY_FAULTS_SITE"):

    @pytest.mark.needs_root
    def test_lock_of_a_dead_holder_whose_number_is_used_again_is_taken():
        command = [*in_namespaces("--pid", "--mount"), "env", f"PYTHONPATH={site}", sys.executable, "-c", HELD]
        assert output_of(command) == "b'kept' b'more' None None\n"


def test_paused_machine_looks_like_nothing(start_program, tmp_path):
    """All processes are stopped at an arbitrary moment, and go on: no death, no retry, no early timeout."""
    gate = tmp_path / "gate"
    program = start_program(
        "ray.init(num_cpus=2, object_store_memory=8 << 20)\n"
        "f = ray.remote(max_retries=0)(lambda i: i)\n"
        "ray.get([f.remote(i) for i in range(50)])\n"
        "while len(core._processes()) < 4 or core._statistics()['workers'] < 2: time.sleep(0.001)\n"
        "ready()\n"
        f"while not os.path.exists({str(gate)!r}): assert ray.get([f.remote(i) for i in range(200)]) == list(range(200))\n"
        "print({kind for _, kind, _, _ in core._processes()}, core._statistics()['workers'], core._validate())\n"
    )
    program.wait_ready()
    for _ in range(5):
        with standing_still([program.process.pid, *program.others]):
            pass
    gate.touch()
    assert program.finish() == (0, "{1, 2, 3} 2 None\n", "")


JUMPING_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
/* The clock of the day goes a day forth or back at each look. */
static long jump(void) { static long count; return (__atomic_add_fetch(&count, 1, __ATOMIC_RELAXED) % 3 - 1) * 86400; }
int clock_gettime(clockid_t clock, struct timespec* now) {
  static int (*real)(clockid_t, struct timespec*);
  if (!real) real = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  if (clock == CLOCK_REALTIME) now->tv_sec += jump();
  return result;
}
int gettimeofday(struct timeval* now, void* zone) {
  struct timespec precise;
  int result = clock_gettime(CLOCK_REALTIME, &precise);
  (void)zone;
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return result;
}
time_t time(time_t* now) {
  struct timespec precise;
  clock_gettime(CLOCK_REALTIME, &precise);
  if (now) *now = precise.tv_sec;
  return precise.tv_sec;
}
"""


def test_no_wait_ends_early_or_never_when_the_clock_jumps(start_program, tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "this test needs a C compiler, as the build of miniray does"
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(JUMPING_CLOCK)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    program = start_program(
        "from miniray.exceptions import GetTimeoutError\n"
        "seen = {round((time.time() - time.time()) / 86400) for _ in range(9)}\n"
        "assert len(seen) > 1, seen\n"
        "ray.init(num_cpus=1, object_store_memory=8 << 20)\n"
        "blocked = ray.remote(lambda: time.sleep(600)).remote()\n"
        "for _ in range(5):\n"
        "    begun = time.monotonic()\n"
        "    try: ray.get(blocked, timeout=0.05)\n"
        "    except GetTimeoutError: assert time.monotonic() - begun >= 0.05\n"
        "    assert ray.wait([blocked], timeout=0.05) == ([], [blocked])\n"
        "    assert time.monotonic() - begun >= 0.1\n"
        "f = ray.remote(num_cpus=0)(lambda i: i)\n"
        "assert [ray.get(f.remote(i)) for i in range(300)] == list(range(300))\n"
        "print(core._validate())\n"
        "ray.shutdown()\n",
        LD_PRELOAD=str(library),
    )
    assert program.finish() == (0, "None\n", "")
