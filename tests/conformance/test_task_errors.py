"""Errors of tasks: get raises an object that is a RayTaskError and of the user's own type."""

import pickle
import re
import sys

import pytest
from payloads import ImportedError

pytestmark = pytest.mark.usefixtures("session")


class CodeError(Exception):
    """An error with attributes of its own."""

    def __init__(self, code, note="none"):
        super().__init__(code, note)
        self.code = code
        self.note = note


@pytest.fixture
def failed(ray):
    """Give the error that get raises for a task that raised CodeError(7, "seven")."""

    @ray.remote
    def fail_with_code():
        raise CodeError(7, "seven")

    with pytest.raises(CodeError) as caught:
        ray.get(fail_with_code.remote())
    return caught.value


def plain(error):
    """Return the error's text without terminal colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error))


def test_error_is_a_ray_task_error_and_of_the_users_type(failed, exceptions):
    assert isinstance(failed, exceptions.RayTaskError)
    assert isinstance(failed, exceptions.RayError)
    assert isinstance(failed, CodeError)


def test_name_of_the_errors_type_holds_both(failed):
    assert type(failed).__name__ == "RayTaskError(CodeError)"


def test_error_has_the_attributes_of_the_users_error(failed):
    assert (failed.code, failed.note) == (7, "seven")


def test_cause_is_the_users_error_itself(failed):
    assert type(failed.cause) is CodeError
    assert failed.cause.code == 7


def test_args_of_the_error_hold_the_cause(failed):
    assert failed.args == (failed.cause,)


def test_text_of_the_error_names_task_and_process(failed):
    assert re.search(r"ray::fail_with_code\(\) \(pid=\d+, ip=", plain(failed))


def test_text_of_the_error_holds_the_remote_traceback(failed):
    text = plain(failed)
    assert "test_task_errors.py" in text
    assert "in fail_with_code" in text
    assert 'raise CodeError(7, "seven")' in text
    assert "CodeError: (7, 'seven')" in text.splitlines()[-1]


def test_text_of_the_error_holds_no_frame_of_the_backend(failed, ray):
    import os

    assert os.path.dirname(ray.__file__) not in plain(failed)


def test_error_knows_task_name_and_pid(ray, exceptions):
    import os

    @ray.remote
    def fail_with_pid():
        raise RuntimeError(os.getpid())

    with pytest.raises(exceptions.RayTaskError) as caught:
        ray.get(fail_with_pid.remote())
    assert f"pid={caught.value.cause.args[0]}," in plain(caught.value)


@pytest.mark.parametrize(
    "error",
    [ValueError("v"), KeyError("k"), ZeroDivisionError(), AssertionError("a"), StopIteration(3), RecursionError("deep"),
     NotImplementedError(), TimeoutError("t"), ConnectionResetError("c"), UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
     FileNotFoundError(2, "No such file", "name"), ImportedError(3)],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_error_of_any_ordinary_type_is_raised_as_that_type(ray, exceptions, error):
    @ray.remote
    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        ray.get(fail.remote())
    assert isinstance(caught.value, exceptions.RayTaskError)
    assert caught.value.cause.args == error.args


def test_error_class_defined_inside_the_test_is_the_same_class(ray):
    class LocalError(Exception):
        pass

    @ray.remote
    def fail():
        raise LocalError("local")

    with pytest.raises(LocalError, match="local"):
        ray.get(fail.remote())


def test_base_class_catches_the_error_too(ray):
    class BaseProblem(Exception):
        pass

    class SpecialProblem(BaseProblem):
        pass

    @ray.remote
    def fail():
        raise SpecialProblem

    with pytest.raises(BaseProblem):
        ray.get(fail.remote())


def test_attribute_set_after_construction_survives(ray):
    @ray.remote
    def fail():
        error = ValueError("noted")
        error.detail = {"a": 1}
        raise error

    with pytest.raises(ValueError, match="noted") as caught:
        ray.get(fail.remote())
    assert caught.value.cause.detail == {"a": 1}
    assert caught.value.detail == {"a": 1}


def test_chained_error_shows_both_in_its_text(ray):
    @ray.remote
    def fail():
        try:
            {}["missing"]
        except KeyError as error:
            raise ValueError("outer") from error

    with pytest.raises(ValueError, match="outer") as caught:
        ray.get(fail.remote())
    text = plain(caught.value)
    assert "KeyError: 'missing'" in text
    assert "The above exception was the direct cause of the following exception" in text


def test_error_in_a_nested_call_shows_every_frame(ray):
    def innermost():
        raise ValueError("deep inside")

    def middle():
        innermost()

    @ray.remote
    def task():
        middle()

    with pytest.raises(ValueError, match="deep inside") as caught:
        ray.get(task.remote())
    text = plain(caught.value)
    assert text.index("in task") < text.index("in middle") < text.index("in innermost")


def test_error_passes_through_a_task_that_gets_it(ray):
    @ray.remote
    def child():
        raise CodeError(3)

    @ray.remote
    def parent():
        return ray.get(child.remote())

    with pytest.raises(CodeError) as caught:
        ray.get(parent.remote())
    assert caught.value.code == 3
    text = plain(caught.value)
    assert text.index("ray::parent()") < text.index("ray::child()")
    assert type(caught.value.cause) is CodeError


def test_error_passes_through_three_levels_of_tasks(ray):
    @ray.remote(num_cpus=0)
    def down(depth):
        if depth == 0:
            raise CodeError(99)
        return ray.get(down.remote(depth - 1))

    with pytest.raises(CodeError) as caught:
        ray.get(down.remote(2))
    assert caught.value.code == 99
    assert plain(caught.value).count("ray::down()") == 3


def test_task_may_catch_the_error_of_its_child_by_type(ray):
    @ray.remote
    def child():
        raise CodeError(5)

    @ray.remote
    def parent():
        try:
            ray.get(child.remote())
        except CodeError as error:
            return "caught", error.code

    assert ray.get(parent.remote()) == ("caught", 5)


def test_task_may_raise_another_error_from_that_of_its_child(ray):
    @ray.remote
    def child():
        raise CodeError(5)

    @ray.remote
    def parent():
        try:
            ray.get(child.remote())
        except CodeError as error:
            raise RuntimeError("translated") from error

    with pytest.raises(RuntimeError, match="translated") as caught:
        ray.get(parent.remote())
    assert not isinstance(caught.value, CodeError)
    assert "ray::child()" in plain(caught.value)


def test_error_may_be_raised_again_by_the_driver(ray, exceptions):
    @ray.remote
    def fail():
        raise CodeError(5)

    def raise_again():
        try:
            ray.get(fail.remote())
        except exceptions.RayTaskError as error:
            raise error.cause from None

    with pytest.raises(CodeError) as caught:
        raise_again()
    assert type(caught.value) is CodeError


def test_body_never_runs_when_an_argument_failed(ray, runs):
    @ray.remote
    def fail():
        raise CodeError(4)

    @ray.remote
    def dependent(value, runs):
        runs.add()

    with pytest.raises(CodeError) as caught:
        ray.get(dependent.remote(fail.remote(), runs))
    assert caught.value.code == 4
    assert runs.lines() == []


def test_text_of_a_failed_dependency_shows_each_hop(ray):
    @ray.remote
    def fail():
        raise CodeError(4)

    @ray.remote
    def first(value):
        return value

    @ray.remote
    def second(value):
        return value

    with pytest.raises(CodeError) as caught:
        ray.get(second.remote(first.remote(fail.remote())))
    text = plain(caught.value)
    assert text.index("ray::second()") < text.index("ray::first()") < text.index("ray::fail()")
    assert text.count("At least one of the input arguments for this task could not be computed") == 2


def test_failed_keyword_argument_fails_the_task(ray):
    @ray.remote
    def fail():
        raise CodeError(4)

    with pytest.raises(CodeError):
        ray.get(ray.remote(lambda *, x: x).remote(x=fail.remote()))


def test_one_failed_argument_among_good_ones_fails_the_task(ray):
    @ray.remote
    def fail():
        raise CodeError(4)

    with pytest.raises(CodeError):
        ray.get(ray.remote(lambda *args: args).remote(ray.put(1), 2, fail.remote()))


def test_failed_ref_inside_a_list_does_not_fail_the_task(ray):
    @ray.remote
    def fail():
        raise CodeError(4)

    ref = fail.remote()
    assert ray.get(ray.remote(lambda refs: len(refs)).remote([ref])) == 1


def test_worker_serves_on_after_an_error(ray):
    @ray.remote
    def maybe(i):
        if i % 2:
            raise ValueError(i)
        return i

    refs = [maybe.remote(i) for i in range(20)]
    for i, ref in enumerate(refs):
        if i % 2:
            with pytest.raises(ValueError, match=str(i)):
                ray.get(ref)
        else:
            assert ray.get(ref) == i


def test_user_errors_are_not_retried_by_default(ray, runs):
    @ray.remote
    def fail(runs):
        runs.add()
        raise ValueError("once")

    with pytest.raises(ValueError, match="once"):
        ray.get(fail.remote(runs))
    assert len(runs.lines()) == 1


def test_import_error_in_a_task_is_its_error(ray):
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        ray.get(ray.remote(lambda: __import__("no_such_module_anywhere")).remote())


def test_syntax_error_in_a_task_is_its_error(ray):
    with pytest.raises(SyntaxError):
        ray.get(ray.remote(lambda: compile("1 +", "made up", "eval")).remote())


def test_endless_recursion_in_a_task_is_its_error(ray):
    @ray.remote
    def recurse():
        return (lambda f: f(f))(lambda f: f(f))

    with pytest.raises(RecursionError):
        ray.get(recurse.remote())
    assert ray.get(ray.put(1)) == 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="ExceptionGroup is new in Python 3.11")
def test_exception_group_can_be_split_by_the_driver(ray, exceptions):
    @ray.remote
    def fail():
        raise ExceptionGroup("several", [ValueError(1), TypeError(2)])  # noqa: F821 - new in 3.11

    with pytest.raises(ExceptionGroup) as caught:  # noqa: F821
        ray.get(fail.remote())
    assert isinstance(caught.value, exceptions.RayTaskError)
    matched, rest = caught.value.split(ValueError)
    assert [error.args for error in matched.exceptions] == [(1,)]
    assert [error.args for error in rest.exceptions] == [(2,)]


def test_error_may_travel_as_an_argument(ray, failed):
    assert ray.get(ray.remote(lambda errors: errors[0].code).remote([failed.cause])) == 7


def test_error_of_a_dropped_ref_is_logged_by_the_driver(start_program):
    program = start_program("""
import sys
ray.init(num_cpus=1)

@ray.remote
def fail():
    raise ValueError("nobody read this")

fail.remote()
sys.stdin.read()
""")
    program.expect("nobody read this", "stderr")
    assert program.finish().returncode == 0


def test_uncaught_error_ends_the_program_with_the_remote_traceback(start_program):
    finished = start_program("""
ray.init(num_cpus=1)

@ray.remote
def divide():
    return 1 / 0

ray.get(divide.remote())
""").finish()
    assert finished.returncode == 1
    assert "RayTaskError(ZeroDivisionError)" in finished.stderr
    assert "in divide" in finished.stderr
    assert "ZeroDivisionError: division by zero" in finished.stderr


def test_task_error_class_pickles(exceptions):
    for name in ("RayError", "GetTimeoutError", "WorkerCrashedError"):
        error = pickle.loads(pickle.dumps(getattr(exceptions, name)("text")))
        assert type(error).__name__ == name
