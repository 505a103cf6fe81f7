"""The low-level module between processes: plain multiprocessing, subprocess, kill -9, takeover, foreign segments."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import struct
import subprocess
import sys

import pytest

from helpers.named_segments import HANG_SECONDS, SHARED_MEMORY, segments_of
from miniray._miniray_core import ObjectRef, ObjectStore, Scheduler, Task, cleanup_shared_memory

KILOBYTE = 1 << 10
MEGABYTE = 1 << 20


def put_in_child(name, ref, data):
    with ObjectStore(create=False, name=name) as store:
        store.put(data, ref)


def answer_tasks(name, results, count):
    scheduler = Scheduler(create=False, name=name)
    scheduler.register_worker(os.getpid())
    for _ in range(count):
        task = scheduler.get_next_task(timeout=HANG_SECONDS)
        results.put((task.return_ref.to_hex(), task.serialized_args, os.getpid()))
    scheduler.mark_worker_busy(os.getpid())
    results.put(None)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_object_of_another_process_is_seen_at_once(name, method):
    with ObjectStore(name=name, capacity=4 * MEGABYTE) as store:
        ref = ObjectRef()
        child = multiprocessing.get_context(method).Process(target=put_in_child, args=(name, ref, b"x" * MEGABYTE))
        child.start()
        child.join()
        assert child.exitcode == 0
        assert store.get(ref) == b"x" * MEGABYTE
        assert segments_of(name) == [store.name]
        assert store._validate() is None


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_task_submitted_before_the_receiver_started_arrives(name, method):
    with Scheduler(name=name) as scheduler:
        refs = [ObjectRef() for _ in range(20)]
        for i, ref in enumerate(refs):
            scheduler.submit_task(Task(ref, b"f", b"a" * (i * 50)))
        context = multiprocessing.get_context(method)
        results = context.Queue()
        child = context.Process(target=answer_tasks, args=(name, results, 20))
        child.start()
        received = [results.get(timeout=HANG_SECONDS) for _ in range(20)]
        assert results.get(timeout=HANG_SECONDS) is None
        child.join()
        assert [hex_id for hex_id, _, _ in received] == [ref.to_hex() for ref in refs]
        assert [len(arguments) for _, arguments, _ in received] == [i * 50 for i in range(20)]
        assert scheduler.get_pending_task_count() == 0
        assert scheduler.get_idle_worker_count() == 0
        scheduler.unregister_worker(child.pid)


def test_sleeping_process_is_woken_by_a_submission(name, start_python):
    with Scheduler(name=name) as scheduler:
        child = start_python(
            "s = Scheduler(create=False, name=sys.argv[1]); print('ready', flush=True)\n"
            "print(s.get_next_task(timeout=60).serialized_args)",
            name,
        )
        assert child.stdout.readline() == "ready\n"
        scheduler.submit_task(Task(ObjectRef(), b"f", b"wake up"))
        assert child.communicate(timeout=HANG_SECONDS) == ("b'wake up'\n", "")


def test_many_processes_take_each_task_once(name, start_python):
    with Scheduler(name=name) as scheduler:
        children = [
            start_python(
                "s = Scheduler(create=False, name=sys.argv[1])\n"
                "while (t := s.get_next_task(timeout=60)).serialized_args != b'end': print(t.serialized_args.decode())",
                name,
            )
            for _ in range(3)
        ]
        for i in range(3000):
            scheduler.submit_task(Task(ObjectRef(), b"f" * (i % 300), str(i).encode()))
        for _ in children:
            scheduler.submit_task(Task(ObjectRef(), b"", b"end"))
        answers = [child.communicate(timeout=HANG_SECONDS) for child in children]
        assert [err for _, err in answers] == ["", "", ""]
        taken = [[int(line) for line in out.split()] for out, _ in answers]
        assert sorted(number for one in taken for number in one) == list(range(3000))
        assert all(one == sorted(one) for one in taken)


def test_default_names_meet(run_python):
    if set(segments_of("miniray_objectstore") + segments_of("miniray_scheduler")) & {
        "miniray_objectstore",
        "miniray_scheduler",
    }:
        pytest.fail("another program uses the default names")
    out = run_python(
        "import subprocess, os\n"
        "store, scheduler = ObjectStore(create=True), Scheduler(create=True)\n"
        "ref = store.put(b'hello'); scheduler.submit_task(Task(ref, [1, 2], [3]))\n"
        "print(sorted(f for f in os.listdir('/dev/shm') if f in ('miniray_objectstore', 'miniray_scheduler')))\n"
        "child = 'from miniray._miniray_core import *; t = Scheduler(create=False).get_next_task(); '\\\n"
        "  'print(t.serialized_function, ObjectStore(create=False).get(t.return_ref))'\n"
        "print(subprocess.run([sys.executable, '-c', child], capture_output=True, text=True).stdout)\n"
    )
    assert out.split("\n")[:2] == ["['miniray_objectstore', 'miniray_scheduler']", "b'\\x01\\x02' b'hello'"]
    assert {"miniray_objectstore", "miniray_scheduler"}.isdisjoint(segments_of("miniray_"))


# --- ends ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    ["", "sys.exit(3)", "raise ValueError('end')", "del s", "cleanup_shared_memory()"],
    ids=lambda end: end or "end of the program",
)
def test_creator_takes_its_segment_along(name, start_python, end):
    child = start_python(
        f"s = ObjectStore(name=sys.argv[1], capacity=1 << 20); s.put(b'x'); t = Scheduler(name=sys.argv[1])\n{end}",
        name,
    )
    child.communicate(timeout=HANG_SECONDS)
    assert segments_of(name) == []


def test_others_go_on_after_the_creator_left(name, start_python):
    child = start_python(
        "s = ObjectStore(name=sys.argv[1], capacity=1 << 20); print(s.put(b'kept').to_hex(), flush=True); input()", name
    )
    from miniray._miniray_core import ObjectID

    ref = ObjectID.from_hex(child.stdout.readline().strip())
    with ObjectStore(create=False, name=name) as store:
        child.communicate("\n", timeout=HANG_SECONDS)
        assert segments_of(name) == []
        assert store.get(ref) == b"kept"
        assert store.get(store.put(b"more")) == b"more"


def test_forked_child_does_not_end_the_store_of_its_parent(name):
    with ObjectStore(name=name, capacity=MEGABYTE) as store:
        ref = store.put(b"x" * 1000)
        view = store.get_view(ref)
        for use_it in (False, True):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    if use_it:
                        assert store.get(ref) == b"x" * 1000
                        store.put(b"from the child", ObjectRef())
                    del view
                    store.close()
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
        assert segments_of(name) == [store.name]
        store.delete(ref)
        store.put(b"y" * 1000)
        assert bytes(view) == b"x" * 1000
        assert store.size() == 2
        assert store._validate() is None


def test_dead_creators_name_is_taken_over(name, start_python):
    child = start_python(
        "s = ObjectStore(name=sys.argv[1], capacity=1 << 20); s.put(b'x'); print('ready', flush=True); input()", name
    )
    assert child.stdout.readline() == "ready\n"
    with pytest.raises(FileExistsError, match=f"process {child.pid}"):
        ObjectStore(name=name, capacity=MEGABYTE)
    child.kill()
    child.wait()
    assert segments_of(name) != []
    with ObjectStore(name=name, capacity=MEGABYTE) as store:
        assert store.size() == 0
        store.put(b"new")


def test_segments_of_dead_programs_go_at_the_next_init_and_live_ones_stay(name, start_python, run_python):
    child = start_python(
        "s = ObjectStore(name=sys.argv[1], capacity=1 << 20); t = Scheduler(name=sys.argv[1]); print('ready', flush=True); input()",
        name,
    )
    assert child.stdout.readline() == "ready\n"
    start_session = "import miniray; miniray.init(num_cpus=1); miniray.shutdown()"
    run_python(start_session)
    assert len(segments_of(name)) == 2
    child.kill()
    child.wait()
    run_python(start_session)
    assert segments_of(name) == []


def test_live_store_stays_beside_a_dead_scheduler_of_the_same_name(name, start_python, run_python):
    child = start_python("t = Scheduler(name=sys.argv[1]); print('ready', flush=True); input()", name)
    assert child.stdout.readline() == "ready\n"
    with ObjectStore(name=name, capacity=MEGABYTE) as store:
        child.kill()
        child.wait()
        run_python("import miniray; miniray.init(num_cpus=1); miniray.shutdown()")
        assert segments_of(name) == [store.name]


def test_kill_in_the_middle_of_work_leaves_a_valid_store(name, start_python):
    with ObjectStore(name=name, capacity=2 * MEGABYTE) as store:
        kept = store.put(b"kept" * 1000)
        pin = store.get_view(kept)
        for round_number in range(8):
            child = start_python(
                "import random; r = random.Random(int(sys.argv[2])); s = ObjectStore(create=False, name=sys.argv[1])\n"
                "refs, views = [], []\n"
                "print('ready', flush=True)\n"
                "while True:\n"
                "    refs.append(s.put(bytes(r.randrange(5000))))\n"
                "    if refs[-1] in s and len(views) < 20: views.append(s.get_view(refs[-1]))\n"
                "    if r.random() < 0.5:\n"
                "        ref = refs.pop(r.randrange(len(refs)))\n"
                "        if ref in s: s.delete(ref)\n",
                name, str(round_number),
            )  # fmt: skip
            assert child.stdout.readline() == "ready\n"
            for _ in range(500 * (round_number + 1)):
                with contextlib.suppress(KeyError):  # the child's puts may have evicted it already
                    assert store.get(store.put(b"z" * 3000)) == b"z" * 3000
                store.get(kept)
            child.kill()
            child.wait()
            assert store.get(kept) == b"kept" * 1000
            assert store._validate() is None
        del pin
        # A newcomer clears what the dead had pinned, so that all of it can be used again.
        with ObjectStore(create=False, name=name):
            pass
        store.put(bytes(2 * MEGABYTE - 300 * KILOBYTE))


def test_kill_of_a_taker_leaves_a_valid_queue(name, start_python):
    with Scheduler(name=name) as scheduler:
        for round_number in range(5):
            child = start_python(
                "s = Scheduler(create=False, name=sys.argv[1]); print('ready', flush=True)\nwhile True: s.get_next_task(timeout=60)",
                name,
            )
            assert child.stdout.readline() == "ready\n"
            for i in range(1000 * (round_number + 1)):
                scheduler.submit_task(Task(ObjectRef(), b"f", bytes(i % 400)))
            child.kill()
            child.wait()
            assert scheduler._validate() is None
        while scheduler.get_next_task() is not None:
            pass
        assert scheduler.get_pending_task_count() == 0


def test_interrupt_ends_a_wait(name, start_python):
    with Scheduler(name=name):
        child = start_python(
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "s = Scheduler(create=False, name=sys.argv[1])\n"
            "try:\n    print('ready', flush=True)\n    s.get_next_task(timeout=600)\n"
            "except KeyboardInterrupt: print('interrupted')\n",
            name,
        )
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=HANG_SECONDS) == ("interrupted\n", "")


# --- segments that are not ours -----------------------------------------------------------------------------------------


@pytest.fixture
def copied(name):
    """Give the path of a segment that no process owns: the copy of a live one."""
    source = ObjectStore(name=name, capacity=MEGABYTE)
    path = SHARED_MEMORY / f"miniray_{name}-copy_objectstore"
    # Sparse, as it is: reading the holes would reserve them.
    subprocess.run(["cp", "--sparse=always", SHARED_MEMORY / source.name, path], check=True)
    yield path
    source.close()
    path.unlink(missing_ok=True)


def test_copy_of_a_segment_opens(copied):
    with ObjectStore(create=False, name=copied.name) as store:
        assert store.size() == 0


def test_segment_of_another_version_is_refused_with_both_versions(copied):
    with copied.open("r+b") as file:
        file.seek(8)
        (version,) = struct.unpack("<I", file.read(4))
        file.seek(8)
        file.write(struct.pack("<I", version + 41))
    with pytest.raises(RuntimeError, match=f"version {version + 41}.*has {version}"):
        ObjectStore(create=False, name=copied.name)


@pytest.mark.parametrize("damage", ["magic", "truncated", "empty", "text"])
def test_damaged_segment_is_refused(copied, damage):
    if damage == "magic":
        with copied.open("r+b") as file:
            file.write(b"\xff" * 8)
    elif damage == "truncated":
        os.truncate(copied, copied.stat().st_size - 4096)
    elif damage == "empty":
        os.truncate(copied, 0)
    else:
        copied.write_bytes(b"not a segment" * 1000)
    with pytest.raises(RuntimeError, match="damaged"):
        ObjectStore(create=False, name=copied.name)


def test_segment_that_others_may_read_is_refused(copied):
    copied.chmod(0o644)
    with pytest.raises(PermissionError, match="0600"):
        ObjectStore(create=False, name=copied.name)


@pytest.mark.needs_root
def test_segment_of_another_user_is_refused(copied):
    os.chown(copied, 12345, 12345)
    with pytest.raises(PermissionError, match="another user"):
        ObjectStore(create=False, name=copied.name)
    with pytest.raises(PermissionError, match="another user"):
        ObjectStore(create=True, name=copied.name)
    assert copied.exists()


def test_link_in_the_place_of_a_segment_is_refused(name, tmp_path):
    link = SHARED_MEMORY / f"miniray_{name}_objectstore"
    target = tmp_path / "target"
    target.write_bytes(bytes(4096))
    link.symlink_to(target)
    try:
        with pytest.raises((OSError, RuntimeError)):
            ObjectStore(create=False, name=name)
        assert target.read_bytes() == bytes(4096)
    finally:
        link.unlink()


# --- cleanup_shared_memory ----------------------------------------------------------------------------------------------


def test_cleanup_removes_what_this_process_made_and_closes_it(name):
    store, scheduler = ObjectStore(name=name, capacity=MEGABYTE), Scheduler(name=name)
    assert len(segments_of(name)) == 2
    assert cleanup_shared_memory() >= 2
    assert segments_of(name) == []
    for call in (store.size, scheduler.get_pending_task_count):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_cleanup_leaves_what_another_live_process_made(name, start_python):
    child = start_python(
        "s = ObjectStore(name=sys.argv[1], capacity=1 << 20); print('ready', flush=True); input()", name
    )
    assert child.stdout.readline() == "ready\n"
    with ObjectStore(create=False, name=name) as store:
        cleanup_shared_memory()
        assert segments_of(name) == [store.name]
        store.put(b"x")
    child.communicate("\n", timeout=HANG_SECONDS)


def test_write_through_a_view_hurts_only_the_writer(name, start_python):
    """Views point into a read-only mapping: C code that writes there gets SIGSEGV, the object stays whole."""
    numpy = pytest.importorskip("numpy")
    with ObjectStore(name=name, capacity=MEGABYTE) as store:
        ref = store.put(b"x" * 1000)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            array = numpy.frombuffer(store.get_view(ref), numpy.uint8)
            ctypes.memset(array.ctypes.data, 0, 10)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGSEGV
        assert store.get(ref) == b"x" * 1000


def test_import_of_the_module_alone_prints_nothing():
    done = subprocess.run(
        [sys.executable, "-c", "from miniray._miniray_core import ObjectStore"], capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"", b"")
