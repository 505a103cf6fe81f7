"""Exceptions that are hard to send: constructors that do not fit, no pickling, no subclasses, not an Exception at all."""

import sys
import threading

import pytest

pytestmark = pytest.mark.usefixtures("session")


def test_error_whose_constructor_takes_more_than_its_args_still_arrives_with_its_text(ray, exceptions):
    class NeedsTwo(Exception):
        def __init__(self, first, second):
            super().__init__(f"{first} and {second}")

    @ray.remote
    def fail():
        raise NeedsTwo("salt", "pepper")

    with pytest.raises(exceptions.RayError, match="salt and pepper"):
        ray.get(fail.remote())


def test_error_that_sets_attributes_without_calling_super_keeps_its_args(ray):
    class Silent(Exception):
        def __init__(self, first, second):
            self.first = first
            self.second = second

    @ray.remote
    def fail():
        raise Silent(1, 2)

    with pytest.raises(Silent) as caught:
        ray.get(fail.remote())
    assert (caught.value.first, caught.value.second) == (1, 2)


def test_error_with_keyword_only_constructor_and_reduce_keeps_its_attributes(ray):
    class Keyword(Exception):
        def __init__(self, *, code):
            super().__init__(f"code {code}")
            self.code = code

        def __reduce__(self):
            return (_make_keyword, (type(self), self.code))

    @ray.remote
    def fail():
        raise Keyword(code=8)

    with pytest.raises(Keyword, match="code 8") as caught:
        ray.get(fail.remote())
    assert caught.value.code == 8


def _make_keyword(error_class, code):
    return error_class(code=code)


def test_error_whose_constructor_raises_when_unpickled_still_arrives_as_a_ray_error(ray, exceptions):
    class Vain(Exception):
        made = 0

        def __init__(self, text):
            super().__init__(text)
            if text == "unpickled":
                raise RuntimeError("not again")

        def __reduce__(self):
            return (type(self), ("unpickled",))

    @ray.remote
    def fail():
        raise Vain("the original text")

    with pytest.raises(exceptions.RayError, match="the original text"):
        ray.get(fail.remote())


def test_unpicklable_error_has_a_ray_error_with_its_text_as_cause(ray, exceptions):
    class Locked(Exception):
        def __init__(self):
            super().__init__("holds a lock")
            self.lock = threading.Lock()

    @ray.remote
    def fail():
        raise Locked

    with pytest.raises(exceptions.RayTaskError, match="holds a lock") as caught:
        ray.get(fail.remote())
    assert isinstance(caught.value.cause, exceptions.RayError)
    assert "isn't serializable" in str(caught.value.cause)
    assert "holds a lock" in str(caught.value.cause)


def test_unpicklable_error_in_a_chain_does_no_harm(ray):
    @ray.remote
    def fail():
        try:
            error = KeyError("inner")
            error.lock = threading.Lock()
            raise error
        except KeyError as inner:
            raise ValueError("outer") from inner

    with pytest.raises(ValueError, match="outer"):
        ray.get(fail.remote())


def test_error_of_a_type_that_allows_no_subclass_is_a_plain_task_error(ray, exceptions):
    class Final(Exception):
        def __init_subclass__(cls, **kwargs):
            raise TypeError("no subclasses")

    @ray.remote
    def fail():
        raise Final("the last of its kind")

    with pytest.raises(exceptions.RayTaskError, match="the last of its kind") as caught:
        ray.get(fail.remote())
    assert type(caught.value) is exceptions.RayTaskError
    assert type(caught.value.cause) is Final


def test_error_with_slots_and_properties_keeps_them(ray):
    class Shaped(Exception):
        def __init__(self, width, height):
            super().__init__(width, height)

        @property
        def area(self):
            return self.args[0] * self.args[1]

    @ray.remote
    def fail():
        raise Shaped(3, 4)

    with pytest.raises(Shaped) as caught:
        ray.get(fail.remote())
    assert caught.value.cause.area == 12


def test_error_whose_text_raises_does_not_hang(ray, exceptions):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    @ray.remote
    def fail():
        raise Mute

    with pytest.raises(exceptions.RayError):
        ray.get(fail.remote())


def test_error_with_a_big_payload_arrives(ray):
    class Heavy(Exception):
        pass

    @ray.remote
    def fail():
        raise Heavy(bytes(2_000_000))

    with pytest.raises(Heavy) as caught:
        ray.get(fail.remote())
    assert len(caught.value.cause.args[0]) == 2_000_000


def test_error_with_a_ref_inside_arrives_with_it(ray):
    class WithRef(Exception):
        pass

    @ray.remote
    def fail():
        raise WithRef([ray.put("inside the error")])

    with pytest.raises(WithRef) as caught:
        ray.get(fail.remote())
    assert isinstance(caught.value.cause.args[0][0], ray.ObjectRef)


def test_base_exception_of_the_users_is_a_plain_task_error(ray, exceptions):
    @ray.remote(max_retries=0)
    def fail():
        raise BaseException("below Exception")

    with pytest.raises(exceptions.RayTaskError, match="below Exception") as caught:
        ray.get(fail.remote())
    assert type(caught.value.cause) is BaseException


def test_generator_exit_is_a_task_error_of_that_type(ray, exceptions):
    @ray.remote(max_retries=0)
    def fail():
        raise GeneratorExit

    with pytest.raises(GeneratorExit) as caught:
        ray.get(fail.remote())
    assert isinstance(caught.value, exceptions.RayTaskError)


def test_keyboard_interrupt_raised_by_a_task_is_a_cancelled_task(ray, exceptions):
    @ray.remote(max_retries=0)
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(exceptions.TaskCancelledError):
        ray.get(fail.remote())


@pytest.mark.parametrize("code", [0, 3])
def test_system_exit_ends_the_worker(ray, exceptions, code):
    @ray.remote(max_retries=0)
    def leave(code):
        sys.exit(code)

    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(leave.remote(code))
