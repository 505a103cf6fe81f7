"""init, shutdown, is_initialized: one session at a time, and what outlives it."""

import threading

import pytest

pytestmark = pytest.mark.usefixtures("no_session")


def test_no_session_runs_before_init(ray):
    assert ray.is_initialized() is False


def test_init_starts_a_session(ray):
    ray.init(num_cpus=1)
    assert ray.is_initialized() is True


def test_shutdown_ends_the_session(ray):
    ray.init(num_cpus=1)
    assert ray.shutdown() is None
    assert ray.is_initialized() is False


def test_shutdown_may_be_called_without_and_after_a_session(ray):
    ray.shutdown()
    ray.init(num_cpus=1)
    ray.shutdown()
    ray.shutdown()
    assert ray.is_initialized() is False


def test_second_init_is_a_runtime_error_that_names_the_way_out(ray):
    ray.init(num_cpus=1)
    with pytest.raises(RuntimeError, match="ignore_reinit_error=True"):
        ray.init(num_cpus=1)
    assert ray.is_initialized()


def test_second_init_with_ignore_reinit_error_ignores_every_other_argument(ray):
    ray.init(num_cpus=1)
    context = ray.init(num_cpus=7, resources={"late": 1}, ignore_reinit_error=True)
    assert context is not None

    @ray.remote(resources={"late": 1})
    def needs_late():
        return "ran"

    ready, pending = ray.wait([needs_late.remote()], timeout=0.5)
    assert (len(ready), len(pending)) == (0, 1)


def test_ignore_reinit_error_on_the_first_init_changes_nothing(ray):
    ray.init(num_cpus=1, ignore_reinit_error=True)
    assert ray.is_initialized()


@pytest.mark.parametrize(
    ("arguments", "names"), [({"num_cpu": 2}, "num_cpu"), ({"first": 1, "second": 2}, "first, second")]
)
def test_unknown_keyword_of_init_is_a_runtime_error_that_names_it(ray, arguments, names):
    with pytest.raises(RuntimeError, match=f"Unknown keyword argument\\(s\\): {names}"):
        ray.init(**arguments)
    assert not ray.is_initialized()


def test_num_cpus_of_init_is_keyword_only(ray):
    with pytest.raises(TypeError):
        ray.init("local", 2)


def test_negative_num_cpus_is_a_value_error(ray):
    with pytest.raises(ValueError, match="nonnegative"):
        ray.init(num_cpus=-1)
    assert not ray.is_initialized()


def test_fractional_num_cpus_of_a_session_is_a_value_error(ray):
    with pytest.raises(ValueError, match="whole"):
        ray.init(num_cpus=1.5)
    assert not ray.is_initialized()


def test_cpu_is_not_the_name_of_a_custom_resource(ray):
    with pytest.raises(AssertionError, match="num_cpus"):
        ray.init(resources={"CPU": 1})


def test_local_mode_is_a_runtime_error(ray):
    with pytest.raises(RuntimeError, match="local_mode"):
        ray.init(local_mode=True)


def test_init_after_a_refused_init_works(ray):
    with pytest.raises(RuntimeError):
        ray.init(nonsense=True)
    ray.init(num_cpus=1)
    assert ray.get(ray.put("fine")) == "fine"


def test_init_accepts_the_address_local(ray):
    ray.init("local", num_cpus=1)
    assert ray.get(ray.put(1)) == 1


def test_init_returns_a_context_with_address_and_dashboard(ray):
    context = ray.init(num_cpus=1)
    assert isinstance(context.address_info["node_id"], str)
    assert isinstance(context.dashboard_url, str)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_context_still_answers_to_the_key_node_id(ray):
    context = ray.init(num_cpus=1)
    assert context["node_id"] == context.address_info["node_id"]


def test_context_manager_ends_the_session(ray):
    with ray.init(num_cpus=1):
        assert ray.is_initialized()
    assert not ray.is_initialized()


def test_context_manager_ends_the_session_when_its_body_raises(ray):
    with pytest.raises(KeyError, match="inside"), ray.init(num_cpus=1):
        raise KeyError("inside")
    assert not ray.is_initialized()


def test_functions_defined_before_shutdown_work_in_the_next_session(ray):
    @ray.remote
    def add(a, b):
        return a + b

    ray.init(num_cpus=1)
    assert ray.get(add.remote(3, 5)) == 8
    ray.shutdown()
    ray.init(num_cpus=1)
    assert ray.get(add.remote(4, 5)) == 9


def test_functions_with_options_made_before_shutdown_work_in_the_next_session(ray):
    @ray.remote
    def pair():
        return 1, 2

    two = pair.options(num_returns=2)
    ray.init(num_cpus=1)
    assert ray.get(two.remote()) == [1, 2]
    ray.shutdown()
    ray.init(num_cpus=1)
    assert ray.get(two.remote()) == [1, 2]


def test_refs_of_an_old_session_are_value_errors(ray):
    @ray.remote
    def identity(value):
        return value

    ray.init(num_cpus=1)
    put = ray.put("old")
    returned = identity.remote("old")
    ray.get(returned)
    ray.shutdown()
    ray.init(num_cpus=1)
    for old in (put, returned):
        with pytest.raises(ValueError, match="owner is unknown"):
            ray.get(old, timeout=30)
        with pytest.raises(ValueError, match="owner is unknown"):
            ray.wait([old], timeout=30)
        with pytest.raises(ValueError, match="owner is unknown"):
            identity.remote(old)
        with pytest.raises(ValueError, match="owner is unknown"):
            identity.remote([old])


def test_arrays_of_an_old_session_stay_readable(ray):
    np = pytest.importorskip("numpy")
    ray.init(num_cpus=1)
    array = ray.get(ray.put(np.arange(1_000_000)))
    ray.shutdown()
    assert int(array.sum()) == 499_999_500_000


def test_shutdown_does_not_wait_for_running_and_queued_tasks(ray, gate, started):
    @ray.remote(max_retries=0)
    def hold(gate, started):
        started.send()
        gate.wait()

    ray.init(num_cpus=1)
    refs = [hold.remote(gate, started) for _ in range(3)]
    started.receive()
    ray.shutdown()
    assert not ray.is_initialized()
    assert len(refs) == 3


def test_session_may_be_started_and_ended_in_a_thread(ray):
    results = []

    def use():
        ray.init(num_cpus=1)
        results.append(ray.get(ray.put("from a thread")))
        ray.shutdown()

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert results == ["from a thread"]
    assert not ray.is_initialized()


def test_refs_alive_at_interpreter_exit_do_no_harm(run_program):
    finished = run_program("""
ray.init(num_cpus=1)

@ray.remote
def value():
    return list(range(1000))

refs = [value.remote() for _ in range(10)] + [ray.put("kept")]
print(len(ray.get(refs)))
""")
    assert "11" in finished.stdout


def test_program_that_forgets_shutdown_ends_by_itself(run_program):
    finished = run_program("""
ray.init(num_cpus=1)

@ray.remote
def one():
    return 1

print("got", ray.get(one.remote()))
""")
    assert "got 1" in finished.stdout


def test_exit_code_of_the_program_is_its_own(start_program):
    finished = start_program("""
import sys
ray.init(num_cpus=1)
ray.get(ray.put(1))
sys.exit(7)
""").finish()
    assert finished.returncode == 7


def test_sigterm_ends_the_program_through_system_exit(start_program):
    finished = start_program("""
import atexit, os, signal, sys
ray.init(num_cpus=1)
atexit.register(lambda: print("atexit ran", flush=True))
try:
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(10_000_000):
        pass
except SystemExit as error:
    print("exit", error.code, flush=True)
    raise
""").finish()
    assert "exit 15" in finished.stdout
    assert "atexit ran" in finished.stdout
    assert finished.returncode == 15
