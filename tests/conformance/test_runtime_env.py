"""``runtime_env``: what tasks and actors find around them, of ``init``, of their own, and inherited."""

from __future__ import annotations

import importlib
import json
import os
import zipfile

import pytest


@pytest.fixture(scope="module")
def envs(backend, _environment):
    return importlib.import_module(f"{backend}.runtime_env")


@pytest.fixture
def job(_sessions):
    """A session with environment variables of its own, for the bodies that take it."""
    _sessions.start(num_cpus=2, runtime_env={"env_vars": {"A": "job", "B": "job"}})
    yield
    _sessions.release()


@pytest.fixture
def variables(ray, job):
    @ray.remote
    def variables(*names):
        return [os.environ.get(name) for name in names]

    return variables


# --- variables ----------------------------------------------------------------------------------------------------------


def test_variables_of_the_session_reach_tasks_beside_those_of_the_driver(ray, variables):
    assert ray.get(variables.remote("A", "B", "PYTHONPATH")) == ["job", "job", os.environ["PYTHONPATH"]]
    assert "A" not in os.environ


def test_variables_of_a_task_are_merged_with_those_of_the_session(ray, variables):
    env = {"env_vars": {"B": "task", "C": "${A}-${HOME}-${NOT_SET}"}}
    expected = ["job", "task", f"job-{os.environ['HOME']}-"]
    assert ray.get(variables.options(runtime_env=env).remote("A", "B", "C")) == expected
    assert ray.get(variables.remote("B", "C")) == ["job", None]  # a worker of another environment


def test_children_inherit_and_add(ray, variables):
    @ray.remote(runtime_env={"env_vars": {"B": "parent", "C": "parent"}})
    def parent():
        added = variables.options(runtime_env={"env_vars": {"C": "child", "D": "child"}})
        return ray.get(variables.remote("A", "B", "C", "D")), ray.get(added.remote("A", "B", "C", "D"))

    assert ray.get(parent.remote()) == (["job", "parent", "parent", None], ["job", "parent", "child", "child"])


def test_options_replace_the_environment_of_the_decorator_unless_they_are_empty(ray, variables):
    @ray.remote(runtime_env={"env_vars": {"A": "decorated", "Z": "decorated"}})
    def task():
        return os.environ["A"], os.environ.get("Z"), os.environ["B"]

    assert ray.get(task.remote()) == ("decorated", "decorated", "job")
    assert ray.get(task.options(runtime_env={"env_vars": {"A": "given"}}).remote()) == ("given", None, "job")
    assert ray.get(task.options(runtime_env={}).remote()) == ("decorated", "decorated", "job")
    assert ray.get(task.options(runtime_env=None).remote()) == ("decorated", "decorated", "job")


def test_actors_have_one_too_also_when_they_are_started_again(ray, variables):
    @ray.remote(max_restarts=1, max_task_retries=-1)
    class Actor:
        def names(self, *names):
            return [os.environ.get(name) for name in names]

        def children(self, *names):
            return ray.get(variables.remote(*names))

        def die(self):
            if not ray.get_runtime_context().was_current_actor_reconstructed:
                os._exit(1)

    actor = Actor.options(runtime_env={"env_vars": {"B": "actor"}}).remote()
    assert ray.get(actor.names.remote("A", "B")) == ["job", "actor"]
    assert ray.get(actor.children.remote("A", "B")) == ["job", "actor"]
    ray.get(actor.die.remote())
    assert ray.get(actor.names.remote("A", "B")) == ["job", "actor"]


def test_task_that_is_tried_again_after_a_crash_finds_the_same(ray, job, runs):
    @ray.remote(max_retries=1, runtime_env={"env_vars": {"C": "kept"}})
    def task():
        if runs.add() == 1:
            os._exit(1)
        return os.environ["C"]

    assert ray.get(task.remote()) == "kept"


def test_number_of_threads_may_be_a_variable(ray, variables):
    env = {"env_vars": {"OMP_NUM_THREADS": "7"}}
    assert ray.get(variables.options(runtime_env=env).remote("OMP_NUM_THREADS")) == ["7"]
    assert ray.get(variables.remote("OMP_NUM_THREADS")) == ["1"]


# --- what is told -------------------------------------------------------------------------------------------------------


def test_context_tells_the_environment(ray, envs, job):
    @ray.remote
    def told():
        context = ray.get_runtime_context()
        return type(context.runtime_env).__name__, dict(context.runtime_env), context.get_runtime_env_string()

    own = {"env_vars": {"A": "job", "B": "job"}}
    assert ray.get_runtime_context().runtime_env == own
    assert isinstance(ray.get_runtime_context().runtime_env, envs.RuntimeEnv)
    assert json.loads(ray.get_runtime_context().get_runtime_env_string()) == own
    merged = {"env_vars": {"A": "job", "B": "task"}}
    name, found, text = ray.get(told.options(runtime_env={"env_vars": {"B": "task"}}).remote())
    assert (name, found, json.loads(text)) == ("RuntimeEnv", merged, merged)


# --- folders and modules ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "module_in_it.py").write_text("NUMBER = 7\n")
    (tmp_path / "data.txt").write_text("some text")
    (tmp_path / "package_in_it").mkdir()
    (tmp_path / "package_in_it" / "__init__.py").write_text("NUMBER = 8\n")
    return tmp_path


def zipped(folder, path, below=""):
    with zipfile.ZipFile(path, "w") as archive:
        for each in ("module_in_it.py", "data.txt"):
            archive.write(folder / each, f"{below}{each}")
    return path


@pytest.fixture
def look(ray):
    @ray.remote
    def look():
        import module_in_it

        with open("data.txt") as file:
            return module_in_it.NUMBER, file.read()

    return look


@pytest.fixture
def start(_sessions, no_session):
    return lambda **env: _sessions.start(num_cpus=1, runtime_env=env)


def test_working_folder_of_the_session(ray, look, folder, start):
    start(working_dir=str(folder))
    assert ray.get(look.remote()) == (7, "some text")


def test_archive_as_working_folder(ray, look, folder, start):
    start(working_dir=str(zipped(folder, folder / "all.zip")))
    assert ray.get(look.remote()) == (7, "some text")


def test_modules_of_the_session(ray, folder, start):
    @ray.remote
    def number():
        import package_in_it

        return package_in_it.NUMBER, os.path.exists("data.txt")

    start(py_modules=[str(folder / "package_in_it")])
    assert ray.get(number.remote()) == (8, os.path.exists("data.txt"))


@pytest.mark.parametrize("below", ["", "top/"])
def test_archive_as_working_folder_of_a_task(ray, look, folder, job, below):
    place = zipped(folder, folder / "some.zip", below).as_uri()
    assert ray.get(look.options(runtime_env={"working_dir": place}).remote()) == (7, "some text")


def test_folder_that_is_everywhere_as_working_folder_of_a_task(ray, look, folder, job):
    assert ray.get(look.options(runtime_env={"working_dir": f"local://{folder}"}).remote()) == (7, "some text")


# --- hooks --------------------------------------------------------------------------------------------------------------


def test_hook_runs_once_in_each_worker(ray, start):
    def hook():
        os.environ["HOOKED"] = str(int(os.environ.get("HOOKED", "0")) + 1)

    @ray.remote
    def hooked():
        return os.environ.get("HOOKED")

    start(worker_process_setup_hook=hook)
    assert ray.get([hooked.remote() for _ in range(4)]) == ["1"] * 4
    assert ray.get(hooked.options(runtime_env={"env_vars": {"Q": "1"}}).remote()) == "1"
    assert ray.get_runtime_context().runtime_env["worker_process_setup_hook"] == "hook"


def test_hook_by_name(ray, folder, start):
    (folder / "hooks.py").write_text("import os\ndef good():\n    os.environ['HOOKED'] = os.environ['E']\n")

    @ray.remote
    def hooked():
        return os.environ.get("HOOKED")

    start(worker_process_setup_hook="hooks.good", working_dir=str(folder), env_vars={"E": "yes"})
    assert ray.get(hooked.remote()) == "yes"


# --- errors -------------------------------------------------------------------------------------------------------------


def test_environment_that_cannot_be_set_up_is_told_by_get(ray, exceptions, job, tmp_path):
    env = {"working_dir": (tmp_path / "none.zip").as_uri()}

    @ray.remote
    class Actor:
        def method(self):
            return 1

    @ray.remote
    def task():
        return 1

    with pytest.raises(exceptions.RuntimeEnvSetupError, match="Failed to set up runtime environment"):
        ray.get(task.options(runtime_env=env).remote())
    actor = Actor.options(runtime_env=env).remote()
    with pytest.raises(exceptions.RuntimeEnvSetupError, match="Could not create the actor"):
        ray.get(actor.method.remote())
    assert ray.get(task.remote()) == 1


def test_folders_are_for_the_session_alone(ray, folder):
    @ray.remote
    def task():
        return 1

    for env in ({"working_dir": str(folder)}, {"py_modules": [str(folder)]}):
        with pytest.raises(ValueError, match="only supported at the job level"):
            task.options(runtime_env=env).remote()


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"env_vars": {"A": 1}}, TypeError, r"env_vars.*the value 1 is of type"),
        ({"env_vars": {1: "A"}}, TypeError, r"env_vars.*the key 1 is of type"),
        ({"env_vars": ["A"]}, TypeError, r"env_vars.*got <class 'list'>"),
        ({"working_dir": 3}, TypeError, "`working_dir` must be a string"),
        ({"working_dir": "/not/there"}, ValueError, "/not/there is not a valid path"),
        ({"working_dir": "s3://bucket/thing"}, ValueError, r"Only \.zip.* files are supported for working_dir"),
        ({"working_dir": "odd://bucket/thing.zip"}, ValueError, "is not a valid URI"),
        ({"py_modules": "/tmp"}, TypeError, "`py_modules` must be a list of strings"),
        ({"py_modules": [1]}, TypeError, "`py_module` must be a string"),
        ({"excludes": "x"}, TypeError, "excludes.*List"),
        ({"pip": ["x"], "conda": "y"}, ValueError, "cannot be specified at the same time"),
        ({"pip": {"packages": ["x"], "other": 1}}, ValueError, "can only have these fields"),
        ({"pip": {"pip_check": True}}, ValueError, "must include field 'packages'"),
        ({"pip": {"packages": ["x"], "pip_check": 1}}, TypeError, "pip_check.*bool"),
        ({"pip": 3}, TypeError, r"\['pip'\] must be of type"),
        ({"uv": 3}, TypeError, r"\['uv'\] must be of type"),
        ({"conda": 3}, TypeError, r"\['conda'\] must be of type"),
        (
            {"container": {"image": "x"}, "working_dir": "/tmp"},
            ValueError,
            "'container' field currently cannot be used",
        ),
        ({"config": {"setup_timeout_seconds": "x"}}, TypeError, "setup_timeout_seconds must be of type int"),
        ({"config": {"setup_timeout_seconds": 0}}, ValueError, "setup_timeout_seconds must be greater than zero"),
        ({"config": {"eager_install": 1}}, TypeError, "eager_install must be a boolean"),
        ({"config": 3}, TypeError, "config.*must be of type dict"),
    ],
)
def test_fields_are_checked(envs, fields, error, words):
    with pytest.raises(error, match=words):
        envs.RuntimeEnv(**fields)


def test_bad_environments_are_refused_when_they_are_given(ray):
    @ray.remote
    def task():
        return 1

    with pytest.raises(TypeError, match="env_vars"):
        task.options(runtime_env={"env_vars": {"A": 1}})
    with pytest.raises(TypeError, match="env_vars"):
        ray.remote(runtime_env={"env_vars": {"A": 1}})(lambda: 1)
    with pytest.raises(TypeError, match="runtime_env"):
        task.options(runtime_env="x")


def test_folder_of_init_must_exist(ray, no_session):
    with pytest.raises(ValueError, match="must be an existing directory or a supported archive"):
        ray.init(num_cpus=1, runtime_env={"working_dir": "/not/there"})


# --- the classes --------------------------------------------------------------------------------------------------------


def test_environment_is_a_dict_of_what_is_set(envs):
    assert envs.RuntimeEnv() == {}
    assert envs.RuntimeEnv(env_vars={}) == {}
    env = envs.RuntimeEnv(env_vars={"A": "1"}, working_dir="/tmp", of_a_plugin=[1])
    assert env == {"env_vars": {"A": "1"}, "working_dir": "/tmp", "of_a_plugin": [1]}
    assert (env.env_vars(), env.working_dir(), env.has_working_dir()) == ({"A": "1"}, "/tmp", True)
    assert (env.py_modules(), env.has_conda(), env.has_pip(), env.has_uv()) == ([], False, False, False)
    assert env.plugins() == [("of_a_plugin", [1])]
    assert env.get("nothing", 3) == 3
    assert envs.RuntimeEnv.deserialize(env.serialize()) == env
    env.set("env_vars", {"B": "2"})
    assert env.to_dict() == {"env_vars": {"B": "2"}, "working_dir": "/tmp", "of_a_plugin": [1]}
    with pytest.raises(TypeError, match="env_vars"):
        env["env_vars"] = {"A": 1}


def test_packages_are_kept_as_a_dict(envs):
    env = envs.RuntimeEnv(pip=["a", "b", "a"])
    assert env.has_pip()
    assert env.pip_config() == {"packages": ["a", "b"], "pip_check": False}
    assert env.pip_uri().startswith("pip://")


def test_config_has_defaults(envs):
    config = envs.RuntimeEnv(config={"eager_install": False})["config"]
    assert config == {"setup_timeout_seconds": 600, "eager_install": False, "log_files": []}
    assert envs.RuntimeEnvConfig.default_config().to_dict()["eager_install"] is True
