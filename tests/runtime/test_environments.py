"""Pools of workers, one for each runtime environment: whom they run, whom they make room for, what fails."""

from __future__ import annotations

import os
import signal
import sys
import zipfile

import pytest

import miniray
from helpers.states import wait_until
from miniray import _miniray_core as core
from miniray._api import environments
from miniray._runtime import runtime
from miniray.exceptions import RuntimeEnvSetupError, UnsupportedFeatureError
from miniray.runtime_env import RuntimeEnv


@miniray.remote
def look(name="X"):
    return os.getpid(), os.environ.get(name)


def of(value):
    return look.options(runtime_env={"env_vars": {"X": value}})


def pools():
    """Return how many workers each environment has, without hosts of actors and those that leave."""
    return {number: present - hosts for number, _, present, hosts in core._workers_needed() if present > hosts}


def test_worker_of_another_environment_is_never_used(ray):
    seen = {}
    for value in ("a", "b", "c", None) * 5:
        call = look if value is None else of(value)
        for pid, found in ray.get([call.remote() for _ in range(4)]):
            assert found == value
            assert seen.setdefault(pid, value) == value
    assert core._validate() is None


def test_equal_environments_share_their_workers(ray):
    pids = {ray.get(of("same").remote())[0] for _ in range(5)}
    assert len(pids) == 1
    assert set(core._workers_needed()) >= {(1, 0, 1, 0)}


def test_tasks_of_many_environments_and_none_all_run(ray):
    calls = [(value, (look if value is None else of(value)).remote()) for value in [None, *map(str, range(8))] * 10]
    for value, ref in calls:
        assert ray.get(ref)[1] == value


def test_environment_gets_a_worker_while_others_have_all_processors(ray, tmp_path):
    stop = tmp_path / "stop"

    @ray.remote
    def again():
        return None if stop.exists() else [again.remote() for _ in range(1)]

    chains = [again.remote() for _ in range(6)]  # always more than there are processors
    assert ray.get(of("waits its turn").remote())[1] == "waits its turn"
    stop.touch()
    while chains:
        chains = [inner for found in ray.get(chains) if found for inner in found]


def test_nested_tasks_of_one_environment_do_not_wait_for_each_other(ray):
    @ray.remote
    def deeper(depth):
        return os.environ["X"] if depth == 0 else ray.get(deeper.remote(depth - 1))

    assert ray.get(deeper.options(runtime_env={"env_vars": {"X": "deep"}}).remote(12)) == "deep"


def test_pools_shrink_to_what_the_session_keeps(ray):
    for value in "abcde":
        ray.get(of(value).remote())
    wait_until(lambda: sum(pools().values()) == 2, "idle workers leave")
    assert ray.get(of("e").remote())[1] == "e"
    assert core._validate() is None


def test_idle_workers_give_way_when_no_more_are_allowed():
    miniray.init(num_cpus=2, worker_capacity=3, log_to_driver=False)
    try:
        for value in "abcdefg":
            assert miniray.get(of(value).remote())[1] == value
            assert sum(pools().values()) <= 3
        assert miniray.get(look.remote())[1] is None
        assert core._validate() is None
    finally:
        miniray.shutdown()


def test_worker_killed_while_it_works_is_replaced_by_one_of_the_same_environment(ray):
    @ray.remote(max_retries=3, runtime_env={"env_vars": {"X": "kept"}})
    def die(path):
        if not os.path.exists(path):
            os.close(os.open(path, os.O_CREAT))
            os.kill(os.getpid(), signal.SIGKILL)
        return os.environ["X"]

    assert ray.get(die.remote(f"/dev/shm/miniray-test-{os.getpid()}")) == "kept"
    os.unlink(f"/dev/shm/miniray-test-{os.getpid()}")


# --- set-up that fails --------------------------------------------------------------------------------------------------


def failing():
    raise KeyError("nothing of that name")


def dying():
    os.kill(os.getpid(), signal.SIGKILL)


def leaving():
    sys.exit(0)


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (failing, "KeyError: 'nothing of that name'"),
        (dying, "3 workers in a row ended while they set it up .* killed by SIGKILL"),
        (leaving, "SystemExit"),
        ("no_such_module.function", "No module named 'no_such_module'"),
        ("function", "does not name a function"),
    ],
)
def test_hook_that_fails_is_told_by_get(ray, hook, words):
    env = {"worker_process_setup_hook": hook}
    refs = [look.options(runtime_env=env).remote() for _ in range(3)]
    for ref in refs:
        with pytest.raises(RuntimeEnvSetupError, match=words):
            ray.get(ref)
    assert ray.get(look.remote())[1] is None
    assert core._validate() is None


def test_next_call_tries_again(ray, tmp_path):
    ready = tmp_path / "ready"

    def hook():
        if not ready.exists():
            raise FileNotFoundError("not yet")

    call = look.options(runtime_env={"worker_process_setup_hook": hook, "env_vars": {"X": "1"}})
    with pytest.raises(RuntimeEnvSetupError, match="not yet"):
        ray.get(call.remote())
    ready.touch()
    assert ray.get(call.remote())[1] == "1"


def test_one_death_while_setting_up_fails_nothing(ray, tmp_path):
    died = tmp_path / "died"

    def hook():
        if not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    call = look.options(runtime_env={"worker_process_setup_hook": hook, "env_vars": {"X": "1"}})
    assert ray.get(call.remote())[1] == "1"


def test_session_whose_own_environment_fails_starts_no_storm(tmp_path):
    tried = tmp_path / "tried"

    def hook():
        with open(tried, "a") as file:
            file.write("x")
        raise ValueError("never")

    miniray.init(num_cpus=2, log_to_driver=False, runtime_env={"worker_process_setup_hook": hook})
    try:
        wait_until(lambda: tried.exists() and core._statistics()["workers"] == 0, "the first workers end")
        for _ in range(3):
            with pytest.raises(RuntimeEnvSetupError, match="never"):
                miniray.get(look.remote())
        assert len(tried.read_text()) <= 2 + 3 * 2
        ok = look.options(runtime_env={"worker_process_setup_hook": "os.getpid", "env_vars": {"X": "1"}})
        assert miniray.get(ok.remote())[1] == "1"
    finally:
        miniray.shutdown()


def test_supervisor_that_dies_leaves_its_pools_to_the_next(ray):
    pid, _ = ray.get(of("a").remote())
    os.kill(runtime.current().supervisor_pid, signal.SIGKILL)
    assert ray.get(of("b").remote())[1] == "b"
    assert ray.get(of("a").remote()) == (pid, "a")
    assert core._validate() is None


# --- what is refused, and what is left ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"pip": ["x"]}, "pip"),
        ({"uv": ["x"]}, "uv"),
        ({"conda": "x"}, "conda"),
        ({"container": {"image": "x"}}, "container"),
        ({"image_uri": "x"}, "image_uri"),
        ({"py_executable": "x"}, "py_executable"),
        ({"nsight": "default"}, "nsight"),
        ({"rocprof_sys": "default"}, "rocprof_sys"),
        ({"java_jars": ["x"]}, "java_jars"),
        ({"working_dir": "https://example.org/a.zip"}, "https"),
        ({"py_modules": ["s3://bucket/a.whl"]}, "s3"),
    ],
)
def test_what_needs_real_ray_is_refused_by_name(fields, name):
    for give in (
        lambda: miniray.init(runtime_env=RuntimeEnv(**fields)),
        lambda: look.options(runtime_env=RuntimeEnv(**fields)),
        lambda: miniray.remote(runtime_env=RuntimeEnv(**fields))(object),
    ):
        with pytest.raises(UnsupportedFeatureError, match=name):
            give()
    assert not miniray.is_initialized()


def test_too_many_environments_are_told(ray):
    numbers = [environments.number_for({"env_vars": {"X": str(number)}}) for number in range(511)]
    assert numbers == [*range(1, 512)]
    with pytest.raises(ValueError, match="too many different runtime environments"):
        of("one more").remote()
    assert ray.get(look.remote())[1] is None


def test_unpacked_files_are_removed_at_the_end(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data.txt", "text")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    miniray.init(num_cpus=2, log_to_driver=False, runtime_env={"working_dir": str(tmp_path / "a.zip")})

    @miniray.remote
    def cwd():
        return os.getcwd()

    place = miniray.get(cwd.remote())
    assert place.startswith(str(tmp_path / "miniray_files_"))
    miniray.shutdown()
    assert os.listdir(tmp_path) == ["a.zip"]


def test_files_of_a_program_that_was_killed_go_with_the_next(start_program, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data.txt", "text")
    source = """
ray.init(num_cpus=1, runtime_env={"working_dir": PATH}, log_to_driver=False)
ray.get(ray.remote(lambda: os.getcwd()).remote())
ready()
sys.stdin.read()
""".replace("PATH", repr(str(tmp_path / "a.zip")))
    program = start_program(source, TMPDIR=str(tmp_path))
    program.wait_ready()
    program.kill()
    second = start_program(source, TMPDIR=str(tmp_path))
    second.wait_ready()
    folders = [name for name in os.listdir(tmp_path) if name.startswith("miniray_files_")]
    assert len(folders) == 1
    second.finish()
    assert os.listdir(tmp_path) == ["a.zip"]
