"""The first use of the API starts a session by itself; declarations and questions do not."""

import pytest

pytestmark = pytest.mark.usefixtures("no_session")


def test_decorating_and_options_start_no_session(ray):
    @ray.remote
    def task():
        return 1

    task.options(num_cpus=1)
    assert not ray.is_initialized()


def test_first_remote_call_starts_a_session(ray):
    @ray.remote
    def task():
        return "started"

    ref = task.remote()
    assert ray.is_initialized()
    assert ray.get(ref) == "started"


def test_first_put_starts_a_session(ray):
    ref = ray.put({"a": 1})
    assert ray.is_initialized()
    assert ray.get(ref) == {"a": 1}


def test_first_get_starts_a_session(ray):
    assert ray.get([]) == []
    assert ray.is_initialized()


def test_first_wait_starts_a_session(ray):
    assert ray.wait([]) == ([], [])
    assert ray.is_initialized()


def test_get_of_an_old_ref_starts_a_session_and_is_a_value_error(ray):
    ray.init(num_cpus=1)
    ref = ray.put(1)
    ray.shutdown()
    with pytest.raises(ValueError, match="owner is unknown"):
        ray.get(ref, timeout=30)
    assert ray.is_initialized()


def test_init_after_auto_init_is_a_runtime_error(ray):
    ray.put(1)
    with pytest.raises(RuntimeError):
        ray.init(num_cpus=1)


def test_auto_init_can_be_forbidden_by_the_environment(run_program):
    finished = run_program(
        """
@ray.remote
def task():
    return 1

for name, call in {
    "put": lambda: ray.put(1),
    "get": lambda: ray.get([]),
    "wait": lambda: ray.wait([]),
    "remote": lambda: task.remote(),
}.items():
    try:
        call()
    except ray.exceptions.RaySystemError as error:
        print(name, "refused", ray.is_initialized())
""",
        RAY_ENABLE_AUTO_CONNECT="0",
    )
    for name in ("put", "get", "wait", "remote"):
        assert f"{name} refused False" in finished.stdout
