"""Who holds what: rows of objects and sessions, from inside and from outside, while things change."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import miniray
from helpers.programs import pids_of, standing_still
from helpers.states import segments, wait_until
from miniray import _miniray_core as core
from miniray import diagnostics
from miniray._runtime import observation, runtime
from miniray.diagnostics import Holder

WORKER = 3  # process_table.hpp ProcessKind

CHURN = """
import threading
ray.init(num_cpus=1, _system_config={"record_ref_creation_sites": True})
def churn_0():
    while True: kept = list(map(ray.put, [None] * int(os.environ["BURST"])))
def churn_1():
    while True: kept = list(map(ray.put, (bytes(1000 + i) for i in range(100))))
def churn_2():
    while True: kept = list(map(ray.put, (bytes(5000 + i) for i in range(100))))
def churn_3():
    while True: kept = ray.put(list(map(ray.put, (bytes(100_000 + i) for i in range(100)))))
for churn in (churn_0, churn_1, churn_2, churn_3):
    threading.Thread(target=churn, daemon=True).start()
"""
WAIT = "\nready()\nsys.stdin.readline()\nray.shutdown()\nos._exit(0)\n"


@pytest.fixture
def recording():
    """Give miniray with a session that records call sites."""
    miniray.init(num_cpus=2, log_to_driver=False, _system_config={"record_ref_creation_sites": True})
    yield miniray
    assert core._validate() is None
    miniray.shutdown()


@pytest.fixture
def start(start_program):
    """Start programs that are ready and wait for a line; end them in order."""
    programs = []

    def start(source, **environment):
        programs.append(start_program(source + WAIT, **environment))
        programs[-1].wait_ready()
        return programs[-1]

    yield start
    for program in programs:
        assert program.finish()[0] == 0
        program.expect_nothing_left()


def row_of(ref, session=None):
    """Return the row of an object, None when it is gone."""
    rows = [row for row in observation.observe_objects(session) if row.object_id == ref.hex()]
    assert len(rows) <= 1
    return rows[0] if rows else None


def test_put_object_is_held_by_the_driver(ray):
    ref = ray.put(np.zeros(10**6))
    row = row_of(ref)
    assert (row.state, row.location, row.references, row.pins) == ("sealed", "heap", 1, 0)
    assert 8_000_000 <= row.size_bytes < 8_001_000
    assert row.holders == (Holder(os.getpid(), "driver", "ref"),)
    assert (row.task_count, row.container_count, row.call_site) == (0, 0, None)


def test_small_value_lies_in_its_row(ray):
    ref = ray.put(3)
    row = row_of(ref)
    assert row.location == "inline"
    assert 0 < row.size_bytes <= 32


def test_object_is_gone_from_the_report_when_its_last_ref_is(ray):
    ref = ray.put(bytes(10**5))
    number = len(observation.observe_objects(None))
    identity = ref.hex()
    del ref
    ray.put(1)  # hold bits are dropped with the next section
    rows = observation.observe_objects(None)
    assert len(rows) <= number
    assert identity not in [row.object_id for row in rows]


def test_pending_result_has_no_value_yet_and_its_task_holds_the_arguments(ray):
    @ray.remote
    def wait_for(path, data):
        while not os.path.exists(path):
            pass
        return 1

    data = ray.put(bytes(1000))
    path = f"/tmp/miniray-test-{os.getpid()}"
    try:
        ref = wait_for.remote(path, data)
        row = row_of(ref)
        assert (row.state, row.location, row.size_bytes) == ("pending", "none", 0)
        held = row_of(data)
        assert held.task_count == 1
        assert held.references >= 2
        (function,) = [row for row in observation.observe_objects(None) if row.is_function]
        assert function.task_count == 1
        assert core._statistics()["tasks"] == diagnostics.statistics().tasks == 1
    finally:
        Path(path).touch()
        ray.get(ref)
        Path(path).unlink()
    assert row_of(ref).state == "sealed"
    wait_until(lambda: row_of(data).task_count == 0, "the task lets its argument go")


def test_failed_task_leaves_an_error(ray):
    ref = ray.remote(lambda: 1 / 0).remote()
    ray.wait([ref])
    assert row_of(ref).state == "error"
    with pytest.raises(ZeroDivisionError):
        ray.get(ref)


def test_references_inside_an_object_are_counted(ray):
    inner = ray.put(bytes(1000))
    single = ray.put([inner])
    several = ray.put([inner, inner, ray.put(2)])
    assert row_of(inner).container_count == 2
    assert row_of(inner).holder_kinds == ("ref", "object")
    del single
    ray.put(1)
    assert row_of(inner).container_count == 1
    del several


def test_worker_that_keeps_a_ref_is_named_until_it_dies(ray):
    @ray.remote(max_retries=0)
    def keep(refs):
        import builtins

        builtins.kept = refs
        return os.getpid()

    ref = ray.put(bytes(10**6))
    pid = ray.get(keep.remote([ref]))
    assert Holder(pid, "worker", "ref") in row_of(ref).holders
    os.kill(pid, 9)
    wait_until(lambda: pid not in pids_of(WORKER), "the worker is recovered")
    assert [holder.pid for holder in row_of(ref).holders] == [os.getpid()]


def test_call_site_is_the_users_line(recording):
    def make():
        return recording.put(bytes(1000))

    ref = make()
    line = make.__code__.co_firstlineno + 1
    assert row_of(ref).call_site.endswith(f"test_memory_report.py:{line} make")


def test_call_site_of_a_result_is_the_call_and_of_a_workers_put_the_line_of_the_task(recording):
    @recording.remote
    def task():
        return [recording.put(bytes(1000))]

    ref = task.remote()
    (inner,) = recording.get(ref)
    first = task._function.__code__.co_firstlineno
    assert f":{first + 4} test_call_site_of_a_resu" in row_of(ref).call_site
    assert row_of(inner).call_site.endswith(f":{first + 2} task")


def test_call_site_of_a_reused_row_is_its_own(recording):
    def one():
        return recording.put(bytes(1000))

    def other():
        return recording.put(bytes(1000))

    makers_of_row = {}
    for round_number in range(40):
        make = (one, other)[round_number // 3 % 2]
        ref = make()
        row = row_of(ref)
        assert row.call_site.endswith(f" {make.__name__}")
        makers_of_row.setdefault(row.object_id[-8:], set()).add(make)
        del ref
        recording.put(1)  # frees what was dropped
    assert {one, other} in makers_of_row.values()


def test_long_paths_keep_line_and_function(recording):
    name = "a_function_whose_name_is_longer_than_the_room"
    code = compile(f"def {name}():\n  return put(1)\n", "/long" * 30 + "/é" * 40 + "/file.py", "exec")
    scope = {"put": recording.put}
    exec(code, scope)
    ref = scope[name]()
    site = row_of(ref).call_site
    assert site.endswith(f"/file.py:2 {name[:24]}")
    assert len(site.encode()) <= 60
    assert "\ufffd" not in site


def test_rays_variable_turns_call_sites_on_in_driver_and_workers(start):
    program = start(
        "ray.init(num_cpus=1)\n"
        "def inner():\n    return [ray.put(bytes(70000))]\n"
        "kept = ray.get(ray.remote(inner).remote())",
        RAY_record_ref_creation_sites="1",
    )
    (row,) = [row for row in observation.observe_objects(program.session) if row.size_bytes > 70000]
    assert row.call_site.endswith(" inner")
    assert observation.observe_session(program.session).records_call_sites


def test_report_sorts_limits_and_sums(ray):
    small, large = ray.put(bytes(10_000)), ray.put(bytes(90_000))
    report = diagnostics.memory(limit=1)
    assert [row.object_id for row in report.rows] == [large.hex()]
    assert report.total.objects == 2
    assert 100_000 < report.total.size_bytes < 101_000
    assert report.by_state == {"sealed": report.total}
    assert report.by_location == {"heap": report.total}
    assert report.by_holder == {"ref": report.total}
    assert report.session.name == runtime.current().name
    for key in ("pid", "callsite"):
        assert [row.object_id for row in diagnostics.memory(sort_by=key).rows] == [large.hex(), small.hex()]


def test_session_row_agrees_with_the_sessions_own_counts(ray):
    refs = [ray.put(bytes(1000)) for _ in range(10)]
    row = diagnostics.statistics()
    own = core._statistics()
    assert (row.objects, row.tasks, row.queued, row.running) == (len(refs), 0, 0, 0)
    assert (row.used_bytes, row.capacity_bytes) == (own["used_bytes"], own["capacity_bytes"])
    assert row.control_resident_bytes == own["control_resident_bytes"]
    assert row.driver_pid == os.getpid()
    assert row.driver_is_alive
    assert row.resources["CPU"] == (2.0, 2.0)
    assert row.uptime_seconds > 0
    assert row.name in [other.name for other in diagnostics.sessions()]


def test_impossible_demand_is_told(ray):
    ref = ray.remote(lambda: 1).options(num_cpus=64).remote()
    (demand,) = diagnostics.statistics().queued_demands
    assert (demand.task_count, dict(demand.resources), demand.can_ever_run) == (1, {"CPU": 64.0}, False)
    del ref
    miniray.shutdown()  # it would be pending for ever


def test_worker_may_look_at_its_own_session(ray):
    ref = ray.put(bytes(50_000))

    @ray.remote
    def look():
        report = diagnostics.memory()
        return report.session.name, [row.object_id for row in report.rows]

    name, ids = ray.get(look.remote())
    assert name == diagnostics.statistics().name
    assert ref.hex() in ids


def test_looking_from_outside_changes_nothing(start):
    program = start("ray.init(num_cpus=1)\nkept = ray.put(bytes(10**6))")
    wait_until(lambda: observation.observe_session(program.session).workers == {"idle": 1}, "the worker is there")
    control, heap = (Path(f"/dev/shm/miniray_{program.session}_{kind}") for kind in ("scheduler", "objectstore"))
    pids = [process.pid for process in observation.observe_session(program.session).processes]
    with standing_still(pids):  # whoever writes now is the one who looks
        before = observation.observe_session(program.session)
        # All that is written lies in pages; what a look wrote, or a hole it filled, would show.
        pages = control.stat().st_blocks, heap.stat().st_blocks
        with control.open("rb") as file:
            head = file.read(1 << 20)
        for _ in range(50):
            observation.observe_objects(program.session)
        after = observation.observe_session(program.session)
        assert before.processes == after.processes
        assert (control.stat().st_blocks, heap.stat().st_blocks) == pages
        with control.open("rb") as file:
            assert file.read(1 << 20) == head


def check_churn(rows, driver):
    """Check each row of the churning program in itself; return what was seen."""
    seen = set()
    for row in rows:
        assert row.state in {"pending", "writing", "sealed", "reclaiming"}
        assert {holder.pid for holder in row.holders} <= {driver}
        size = row.size_bytes
        assert row.location == ("none" if size == 0 else "inline" if size <= 32 else "heap"), row
        if row.state == "sealed":
            assert size > 0, row
            assert row.references > 0, row
        assert row.task_count == 0
        if row.call_site is None or size == 0:
            continue
        # The list of refs that churn_3 puts is neither small nor one of the sizes.
        kind = 0 if size <= 32 else next((k for k, n in ((1, 1000), (2, 5000), (3, 100_000)) if n <= size < n + 200), 3)
        assert row.call_site.partition(" ")[2].startswith(f"churn_{kind}"), row
        seen.add(kind)
    return seen


@pytest.mark.parametrize(
    ("looks", "burst"),
    [
        (20, 100),
        pytest.param(3_000, 100, marks=pytest.mark.slow),
        # Enough rows that emptied chunks of the table are given back to the system under the observer's eyes.
        pytest.param(50, 20_000, marks=pytest.mark.slow),
    ],
)
def test_every_row_is_consistent_while_four_threads_put_and_drop(start, looks, burst):
    program = start(CHURN, BURST=str(burst))
    seen = set()
    for _ in range(looks):
        seen |= check_churn(observation.observe_objects(program.session), program.process.pid)
        assert observation.observe_session(program.session).driver_is_alive
    assert seen == {0, 1, 2, 3} or looks < 100
    assert program.process.poll() is None


def test_session_that_ends_during_the_looks_is_an_error_and_no_crash(start):
    program = start(CHURN, BURST="100")
    program.process.stdin.write("\n")
    program.process.stdin.flush()

    def look_for_ever():
        while True:
            check_churn(observation.observe_objects(program.session), program.process.pid)

    with pytest.raises(FileNotFoundError):
        look_for_ever()


def test_no_session_is_an_error():
    with pytest.raises(RuntimeError, match="no session"):
        diagnostics.statistics()
    with pytest.raises(FileNotFoundError):
        diagnostics.memory("0000notthere")


def test_damaged_segments_are_refused(start):
    name = f"test{os.getpid()}damaged"
    control, heap = (Path(f"/dev/shm/miniray_{name}_{kind}") for kind in ("scheduler", "objectstore"))
    program = start("ray.init(num_cpus=1)")
    with Path(f"/dev/shm/miniray_{program.session}_scheduler").open("rb") as file:
        head = file.read(1 << 20)
    old_version = head[:8] + (1).to_bytes(4, "little") + head[12:]
    try:
        heap.touch(0o600)
        for content, message in [
            (b"", "damaged"),
            (os.urandom(1 << 16), "damaged"),
            (head, "damaged"),  # too short for its own tables
            (old_version, "layout version 1"),
        ]:
            control.touch(0o600)
            control.write_bytes(content)
            with pytest.raises(RuntimeError, match=message):
                observation.observe_objects(name)
            assert name not in [row.name for row in diagnostics.sessions()]
    finally:
        control.unlink()
        heap.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_session_of_another_user_is_refused(ray):
    name = diagnostics.statistics().name
    source = (
        "import os, sys\n"
        "from miniray import diagnostics\n"
        "os.setuid(65534)\n"
        "assert diagnostics.sessions() == []\n"
        "try:\n    diagnostics.memory(sys.argv[1])\n"
        "except PermissionError as error:\n    print('refused:', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", source, name], capture_output=True, text=True, check=True)
    assert "belongs to another user" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_root_does_not_look_into_a_users_session():
    name = f"test{os.getpid()}foreign"
    source = (
        "import os, sys\n"
        "from miniray import _miniray_core as core\n"
        "os.setuid(65534)\n"
        "core._session_create(sys.argv[1], 1 << 20, 0, 100, 100, 16)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
        "core._session_close()\ncore._session_unlink(sys.argv[1])\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", source, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "ready\n"
        with pytest.raises(PermissionError):
            diagnostics.memory(name)
        assert name not in [row.name for row in diagnostics.sessions()]
    finally:
        child.communicate()
    assert not any(name in segment for segment in segments())
