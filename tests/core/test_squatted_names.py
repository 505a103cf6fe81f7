"""What others put where our segments go: links, pipes, folders, segments of another user. Refused before a byte of it is believed."""

import os
import pickle
import signal
import subprocess
import sys

import pytest

import miniray
from helpers.named_segments import HANG_SECONDS, SHARED_MEMORY
from miniray import _miniray_core as core
from miniray._miniray_core import ObjectStore, Scheduler
from miniray._runtime import observation, runtime

OTHER_USER = 65534


def make_link(path):
    path.symlink_to("/etc/passwd")


def make_link_to_nothing(path):
    path.symlink_to("/nowhere/at/all")


SQUATTERS = {"link": make_link, "link to nothing": make_link_to_nothing, "pipe": os.mkfifo, "folder": os.mkdir}


def remove(path):
    """Remove whatever has that name."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


@pytest.fixture
def squatted(name, request):
    """Give a name where something stands that is no segment, and its path."""
    path = SHARED_MEMORY / f"miniray_{name}_{request.param[0]}"
    SQUATTERS[request.param[1]](path)
    yield name, path
    assert path.is_symlink() or path.exists()  # it is not ours to remove
    remove(path)


@pytest.fixture(autouse=True)
def _watchdog():
    """End a test that hangs in the core, where no Python runs."""
    signal.alarm(HANG_SECONDS)
    yield
    signal.alarm(0)


def each(kind):
    return pytest.mark.parametrize("squatted", [(kind, what) for what in SQUATTERS], ids=SQUATTERS, indirect=True)


@each("objectstore")
def test_store_is_neither_made_nor_opened_where_something_else_stands(squatted):
    for create in (True, False):
        with pytest.raises(PermissionError, match=r"is a link, a folder or a pipe, no file.*choose another name"):
            ObjectStore(create=create, name=squatted[0], capacity=1 << 20)


@each("scheduler")
def test_scheduler_is_neither_made_nor_opened_where_something_else_stands(squatted):
    for create in (True, False):
        with pytest.raises(PermissionError, match=r"is a link, a folder or a pipe, no file.*choose another name"):
            Scheduler(create=create, name=squatted[0], max_tasks=10)


@each("scheduler")
def test_sessions_start_beside_it_and_leave_it_alone(squatted):
    name, path = squatted
    with pytest.raises(PermissionError, match="is a link, a folder or a pipe"):
        core._session_attach(name, "worker")
    with pytest.raises(PermissionError, match="is a link, a folder or a pipe"):
        observation.observe_session(name)
    assert core._session_inspect(name) == -1
    assert name not in [row.name for row in observation.observe_sessions()]
    with miniray.init(num_cpus=1, object_store_memory=1 << 24, log_to_driver=False):
        assert miniray.get(miniray.remote(lambda: 5).remote()) == 5
    assert path.is_symlink() or path.exists()


@pytest.mark.parametrize("ending", [b"\xff\xfe_scheduler", b"\xff", b"a\nb_scheduler", b"_scheduler", b""])
def test_names_that_are_no_text_do_not_stop_init(ending):
    path = os.fsencode(SHARED_MEMORY) + b"/miniray_" + ending
    with open(path, "xb") as file:
        file.write(b"\x7fnothing of ours" * 1000)
    try:
        runtime.remove_stale_sessions()
        observation.observe_sessions()
        with miniray.init(num_cpus=1, object_store_memory=1 << 24, log_to_driver=False):
            assert miniray.get(miniray.put(3)) == 3
    finally:
        if os.path.exists(path):
            os.unlink(path)


# --- another user ---------------------------------------------------------------------------------------------------

# What it would do when unpickled: write a file that the test looks for.
CRAFTED = """
import os, pickle, sys
os.setresuid({user}, {user}, {user})
from miniray._miniray_core import ObjectStore, Scheduler, Task, ObjectRef, _session_create
class Evil:
    def __reduce__(self):
        return os.system, ("touch {marker}",)
payload = pickle.dumps(Evil())
store = ObjectStore(name={name!r}, capacity=1 << 20)
store.put(payload)
scheduler = Scheduler(name={name!r}, max_tasks=10)
scheduler.submit_task(Task(ObjectRef(), payload, payload))
for kind in ("objectstore", "scheduler"):
    if {readable}: os.chmod("/dev/shm/miniray_" + {name!r} + "_" + kind, 0o666)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=[False, True], ids=["private", "for everybody"])
def crafted(name, tmp_path, request):
    """Give the name of segments with hostile content that another user made, who lives, and the trace unpickling would leave."""
    marker = tmp_path / "unpickled"
    tmp_path.chmod(0o777)
    source = CRAFTED.format(user=OTHER_USER, name=name, marker=marker, readable=request.param)
    # The other user may not be able to read the package: it is imported before the user changes.
    process = subprocess.Popen(
        [sys.executable, "-c", "import miniray\n" + source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    yield name, marker
    process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0
    assert not marker.exists()


@pytest.mark.needs_root
def test_segments_of_another_user_are_refused_before_anything_is_unpickled(crafted):
    name, _ = crafted
    for create in (True, False):
        for open_it in (
            lambda create=create: ObjectStore(create=create, name=name, capacity=1 << 20),
            lambda create=create: Scheduler(create=create, name=name, max_tasks=10),
        ):
            with pytest.raises(PermissionError, match="belongs to another user"):
                open_it()
    for kind in ("objectstore", "scheduler"):
        assert (SHARED_MEMORY / f"miniray_{name}_{kind}").exists()
        assert not core._unlink_if_dead(f"miniray_{name}_{kind}")


@pytest.mark.needs_root
def test_session_whose_parts_belong_to_another_user_is_refused(tmp_path):
    with miniray.init(num_cpus=1, object_store_memory=1 << 24, log_to_driver=False):
        session = runtime.current().name
        for part in ("scheduler", "objectstore"):
            path = SHARED_MEMORY / f"miniray_{session}_{part}"
            os.chown(path, OTHER_USER, OTHER_USER)
            attempt = subprocess.run(
                [sys.executable, "-c", "import sys; from miniray import _miniray_core as core\n"
                 "try: core._session_attach(sys.argv[1], 'worker')\n"
                 "except PermissionError as error: print(error)\n", session],
                capture_output=True, text=True, timeout=HANG_SECONDS,
            )  # fmt: skip
            assert "belongs to another user" in attempt.stdout, attempt
            os.chown(path, os.getuid(), os.getgid())
        assert miniray.get(miniray.put(1)) == 1


@pytest.mark.needs_root
def test_thousand_names_of_another_user_do_not_stop_init():
    parts = ("scheduler", "objectstore")
    paths = [SHARED_MEMORY / f"miniray_{number:012x}_{part}" for number in range(500) for part in parts]
    try:
        for path in paths:
            path.write_bytes(b"\0" * 100)
            os.chown(path, OTHER_USER, OTHER_USER)
        with miniray.init(num_cpus=1, object_store_memory=1 << 24, log_to_driver=False):
            assert miniray.get(miniray.put(2)) == 2
        assert all(path.exists() for path in paths)
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


# --- the spill folder -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.write_text("")], ids=["pipe", "file"])
def test_spill_folder_that_is_none_is_told(tmp_path, make):
    path = tmp_path / "spill"
    make(path)
    with pytest.raises(ValueError, match=r"objects cannot be spilled to .*Name a folder that this user may write to"):
        miniray.init(num_cpus=1, object_store_memory=1 << 24, object_spilling_directory=str(path))
    assert not miniray.is_initialized()


def test_file_of_spilled_objects_cannot_be_squatted(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for number in range(50):
        (tmp_path / f"miniray_spill_{number:016x}").symlink_to(victim)
    folder = str(tmp_path)
    with miniray.init(num_cpus=1, object_store_memory=1 << 24, object_spilling_directory=folder, log_to_driver=False):
        refs = [miniray.put(bytes([i]) * (4 << 20)) for i in range(8)]
        assert core._statistics()["spilled_bytes"] > 0
        assert [miniray.get(ref)[0] for ref in refs] == list(range(8))
        del refs
    assert victim.read_text() == "mine"


def test_pickle_of_the_test_is_hostile(tmp_path):
    """Or the tests above would prove nothing."""

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'unpickled'}",)

    pickle.loads(pickle.dumps(Evil()))
    assert (tmp_path / "unpickled").exists()
