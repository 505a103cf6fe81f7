"""RayTaskError: made from whatever user code raises, in one process, and used in another."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
import threading
import traceback
from abc import ABC
from dataclasses import dataclass
from typing import Any

import cloudpickle
import pytest

from miniray._runtime import error_capture
from miniray._runtime.error_capture import make_task_error
from miniray.exceptions import GetTimeoutError, RayError, RayTaskError, UnserializableException

if sys.version_info < (3, 11):
    exceptiongroup = pytest.importorskip("exceptiongroup")
    ExceptionGroup = exceptiongroup.ExceptionGroup


def _raised(error: BaseException) -> BaseException:
    """Return the error as user code raises it."""
    try:
        raise error
    except BaseException as raised:
        return raised


def _at_caller(error: BaseException, function_name: str = "task") -> Any:
    """Return what `get` raises for a task that raised the error."""
    stored = make_task_error(function_name, _raised(error), 4711)
    return pickle.loads(pickle.dumps(stored)).as_instanceof_cause()


class CodeError(Exception):
    """An ordinary exception of a user, with a class default under an attribute."""

    code: int | None = None

    def __init__(self, text: str, code: int = 7) -> None:
        super().__init__(text)
        self.code = code

    @property
    def doubled(self) -> int:
        """The code, twice."""
        return 2 * (self.code or 0)


class SlotsError(Exception):
    """Has a field outside of __dict__."""

    __slots__ = ("slot",)

    def __init__(self, slot: int) -> None:
        super().__init__(slot)
        self.slot = slot


@dataclass(frozen=True)
class FrozenError(Exception):
    """Refuses assignments."""

    code: int

    def __reduce__(self) -> Any:
        return type(self), (self.code,)


@dataclass(eq=True)
class UnhashableError(Exception):
    """Has no hash."""

    code: int


class AbstractError(Exception, ABC):
    """Has a metaclass."""


class ReadOnlyArgsError(Exception):
    """Forbids to set args."""

    @property
    def args(self) -> tuple[Any, ...]:  # type: ignore[override]
        """Always the same."""
        return ("fixed",)

    def __reduce__(self) -> Any:
        return type(self), ()


class NewError(Exception):
    """Has a `__new__` that wants more than the message."""

    def __new__(cls, left: int, right: int) -> NewError:
        return super().__new__(cls, left, right)


class StrError(Exception):
    """Fails when it is shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class EqualError(Exception):
    """Fails when it is compared."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]


class GetattrError(Exception):
    """Answers for every attribute."""

    def __getattr__(self, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return f"any {name}"


class CauseError(Exception):
    """Has attributes of the names that RayTaskError uses itself."""

    def __init__(self, text: str = "named alike") -> None:
        super().__init__(text)
        self.pid = -1
        self.cause = "a word"
        self.function_name = "mine"


class StaysError(Exception):
    """Cannot be subclassed."""

    def __init_subclass__(cls) -> None:
        raise TypeError("this class is final")


class TwoError(Exception):
    """Pickles, but does not unpickle."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__(left)


class LockError(Exception):
    """Does not pickle."""

    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


class DyingReduceError(Exception):
    """Ends the process when it is pickled, if nobody stops it."""

    def __reduce__(self) -> Any:
        sys.exit("in __reduce__")


def _die() -> None:
    sys.exit("in unpickling")


class DyingLoadError(Exception):
    """Ends the process when it is unpickled, if nobody stops it."""

    def __reduce__(self) -> Any:
        return _die, ()


class WordReduceError(Exception):
    """Comes back as something that is no exception."""

    def __reduce__(self) -> Any:
        return str, ("a word",)


SAME_TYPE: list[BaseException] = [
    ValueError("v"),
    KeyError("k"),
    FileNotFoundError(2, "No such file", "/nowhere"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    StopIteration(5),
    SyntaxError("wrong", ("file.py", 3, 1, "x x")),
    ImportError("not here", name="nothing"),
    AttributeError("nothing", name="a"),
    RecursionError("deep"),
    GetTimeoutError("late"),
    CodeError("c", code=9),
    SlotsError(4),
    FrozenError(5),
    UnhashableError(6),
    AbstractError("a"),
    ReadOnlyArgsError(),
    NewError(1, 2),
    StrError(),
    EqualError(),
    GetattrError(),
    CauseError(),
    ExceptionGroup("g", [ValueError(1), ExceptionGroup("inner", [TypeError(2)])]),
]


@pytest.mark.parametrize("error", SAME_TYPE, ids=lambda error: type(error).__name__)
def test_caller_gets_a_task_error_that_is_of_the_users_type(error: BaseException) -> None:
    arrived = _at_caller(error)
    assert isinstance(arrived, RayTaskError)
    assert isinstance(arrived, type(error))
    assert type(arrived.cause) is type(error)
    assert type(arrived).__name__ == f"RayTaskError({type(error).__name__})"
    assert str(arrived).startswith("ray::task() (pid=4711, ip=127.0.0.1)") or "Exception Group" in str(arrived)
    assert type(error).__name__ in str(arrived)


@pytest.mark.parametrize("error", SAME_TYPE, ids=lambda error: type(error).__name__)
def test_error_of_both_types_survives_pickle_cloudpickle_and_copy(error: BaseException) -> None:
    arrived = _at_caller(error)
    for again in (
        pickle.loads(pickle.dumps(arrived)),
        pickle.loads(cloudpickle.dumps(arrived)),
        copy.copy(arrived),
    ):
        assert type(again).__name__ == type(arrived).__name__
        assert isinstance(again, type(error))
        assert str(again) == str(arrived)


def test_attributes_of_the_cause_are_there() -> None:
    arrived = _at_caller(CodeError("c", code=9))
    assert (arrived.code, arrived.doubled, arrived.cause.code) == (9, 18, 9)
    assert arrived.args == (arrived.cause,)
    assert _at_caller(SlotsError(4)).slot == 4
    assert _at_caller(FrozenError(5)).code == 5
    missing = _at_caller(FileNotFoundError(2, "No such file", "/nowhere"))
    assert (missing.errno, missing.strerror, missing.filename) == (2, "No such file", "/nowhere")
    assert _at_caller(StopIteration(5)).value == 5
    assert _at_caller(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")).reason == "bad"


def test_facts_of_the_task_are_there_unless_the_cause_has_that_name() -> None:
    arrived = _at_caller(ValueError("v"), "simulate")
    assert (arrived.function_name, arrived.pid) == ("simulate", 4711)
    assert "ValueError: v" in arrived.traceback_str
    named_alike = _at_caller(CauseError())
    assert (named_alike.pid, named_alike.function_name) == (-1, "mine")
    assert isinstance(named_alike.cause, CauseError)


def test_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        _ = _at_caller(ValueError("v")).nothing
    assert not hasattr(_at_caller(ValueError("v")), "_ray_nothing")


def test_type_is_made_once_while_it_is_in_use() -> None:
    first, second = _at_caller(CodeError("a")), _at_caller(CodeError("b"))
    assert type(first) is type(second)


def test_error_of_the_users_type_can_be_built_from_its_own_type() -> None:
    arrived = _at_caller(CodeError("c"))
    again = type(arrived)("new text", code=3)
    assert isinstance(again, CodeError)
    assert (str(again), again.code) == ("new text", 3)
    assert pickle.loads(pickle.dumps(again)).code == 3


def test_plain_exception_and_ray_error_stay_plain_task_errors() -> None:
    assert type(_at_caller(Exception("e"))) is RayTaskError
    assert type(_at_caller(RayError("e"))) is RayTaskError


def test_type_that_forbids_subclasses_gives_a_plain_task_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        arrived = _at_caller(StaysError("s"))
    assert type(arrived) is RayTaskError
    assert isinstance(arrived.cause, StaysError)
    assert "this class is final" in caplog.text


@pytest.mark.parametrize("error", [LockError(), DyingReduceError("d")], ids=lambda error: type(error).__name__)
def test_cause_that_does_not_pickle_is_replaced_by_its_text(error: BaseException) -> None:
    arrived = _at_caller(error)
    assert type(arrived.cause) is RayError
    assert f"{type(error).__name__} isn't serializable" in str(arrived.cause)
    assert f"{type(error).__name__}: {error}" in str(arrived.cause)
    assert f"{type(error).__name__}: {error}" in str(arrived)


@pytest.mark.parametrize(
    "error", [TwoError(1, 2), DyingLoadError("d"), WordReduceError("w")], ids=lambda error: type(error).__name__
)
def test_cause_that_does_not_unpickle_is_replaced_by_its_text(error: BaseException) -> None:
    arrived = _at_caller(error)
    assert isinstance(arrived.cause, UnserializableException)
    assert isinstance(arrived, UnserializableException)
    assert f"{type(error).__name__}: {error}" in str(arrived.cause)
    assert f"{type(error).__name__}: {error}" in str(arrived)


def test_cause_that_cannot_be_rebuilt_at_the_caller_is_replaced_by_its_text() -> None:
    # cloudpickle writes the class by reference to a module that only this process has.
    program = "import pickle, sys; e = pickle.load(sys.stdin.buffer); print(type(e.cause).__name__); print(e)"
    stored = pickle.dumps(make_task_error("task", _raised(CodeError("only here")), 4711))
    stored = stored.replace(CodeError.__module__.encode(), b"x" * len(CodeError.__module__))
    done = subprocess.run([sys.executable, "-c", program], input=stored, capture_output=True, check=True)
    assert done.stdout.startswith(b"UnserializableException\nray::task() (pid=4711")
    assert b"CodeError: only here" in done.stdout


def test_error_that_was_never_captured_still_pickles() -> None:
    error = RayTaskError("task", "Traceback of it", LockError(), pid=3)
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived.cause) is RayError
    assert "Traceback of it" in str(arrived.cause)
    assert isinstance(error.cause, LockError)


def test_nested_task_keeps_the_first_cause_and_the_text_of_each_hop() -> None:
    inner = _at_caller(CodeError("first", code=1), "inner")
    middle = _at_caller(inner, "middle")
    outer = _at_caller(middle, "outer")
    assert isinstance(outer, CodeError)
    assert (type(outer.cause), outer.code) == (CodeError, 1)
    positions = [str(outer).index(f"ray::{name}() (pid=4711") for name in ("outer", "middle", "inner")]
    assert positions == sorted(positions)
    assert str(outer).endswith("CodeError: first")
    assert str(outer).count("miniray.exceptions.RayTaskError(CodeError): ray::") == 2


def test_task_error_of_an_actor_names_the_actor() -> None:
    stored = make_task_error("A.m", _raised(ValueError("v")), 5, actor_repr="A(1)", actor_id="12ab")
    assert str(stored).startswith("ray::A.m() (pid=5, ip=127.0.0.1, actor_id=12ab, repr=A(1))")


def test_explicit_cause_is_part_of_the_text() -> None:
    error = ValueError("later")
    error.__cause__ = _raised(ZeroDivisionError("earlier"))
    text = str(_at_caller(error))
    assert text.index("ZeroDivisionError: earlier") < text.index("direct cause") < text.index("ValueError: later")


def test_frames_of_miniray_above_the_users_function_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, Any] = {}
    executor = f"{error_capture._PACKAGE_FOLDER}_runtime/task_executor.py"
    exec(compile("def execute(f):\n    f()\n", executor, "exec"), namespace)

    def users_function() -> None:
        raise ValueError("v")

    with pytest.raises(ValueError, match="v") as caught:
        namespace["execute"](users_function)
    raised = caught.value.with_traceback(caught.tb.tb_next)  # type: ignore[union-attr]
    assert "task_executor.py" in "".join(traceback.format_tb(raised.__traceback__))
    text = str(make_task_error("task", raised, 1))
    assert "task_executor.py" not in text
    assert "users_function" in text


def test_traceback_of_miniray_alone_is_shown_whole() -> None:
    namespace: dict[str, Any] = {}
    exec(compile("def f():\n    raise ValueError('v')\n", f"{error_capture._PACKAGE_FOLDER}x.py", "exec"), namespace)
    with pytest.raises(ValueError, match="v") as caught:
        namespace["f"]()
    raised = caught.value.with_traceback(caught.tb.tb_next)  # type: ignore[union-attr]
    assert "x.py" in str(make_task_error("task", raised, 1))


def test_endless_chain_of_causes_has_a_short_text() -> None:
    error: BaseException = ValueError("link 0")
    for number in range(1, 50_000):
        following = ValueError(f"link {number}")
        following.__cause__ = error
        error = following
    text = str(_at_caller(error))
    assert text.endswith("ValueError: link 49999")
    assert "earlier exceptions left out" in text
    assert text.count("direct cause") == error_capture.MAX_CHAINED
    while error.__cause__ is not None:  # taken apart here: freeing it whole would recurse
        error, error.__cause__ = error.__cause__, None


def test_chain_of_causes_with_a_cycle_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    text = str(_at_caller(first))
    assert "ValueError: first" in text
    assert "ValueError: second" in text


def test_exception_that_holds_itself_arrives() -> None:
    error = ValueError("v")
    error.__dict__["me"] = error
    arrived = _at_caller(error)
    assert isinstance(arrived, ValueError)
    assert arrived.cause.me is arrived.cause


def test_long_message_is_cut_in_the_middle() -> None:
    arrived = _at_caller(ValueError("a" * 10_000_000 + "end"))
    assert len(str(arrived)) < error_capture.MAX_TEXT_CHARACTERS + 1000
    assert "characters left out" in str(arrived)
    assert str(arrived).endswith("end")
    assert len(arrived.cause.args[0]) == 10_000_003


def test_keyboard_interrupt_while_an_error_is_made_is_not_swallowed() -> None:
    class InterruptedError_(Exception):
        def __reduce__(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_task_error("task", _raised(InterruptedError_("i")), 1)


def test_class_that_travels_by_value_arrives_as_the_callers_class() -> None:
    class LocalError(Exception):
        pass

    arrived = _at_caller(LocalError("l"))
    assert isinstance(arrived, LocalError)


def test_exception_group_can_be_split_like_any_other() -> None:
    arrived = _at_caller(ExceptionGroup("g", [ValueError(1), TypeError(2)]))
    matching, rest = arrived.split(ValueError)
    assert [str(each) for each in matching.exceptions] == ["1"]
    assert [str(each) for each in rest.exceptions] == ["2"]
    assert (arrived.message, len(arrived.exceptions)) == ("g", 2)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="except* is syntax of Python 3.11")
def test_exception_group_is_handled_by_except_star() -> None:
    namespace: dict[str, Any] = {
        "error": _at_caller(ExceptionGroup("g", [ValueError(1), ExceptionGroup("i", [TypeError(2)])])),
        "seen": [],
    }
    exec(
        "try:\n    raise error\n"
        "except* ValueError as found:\n    seen.append(len(found.exceptions))\n"
        "except* TypeError as found:\n    seen.append(len(found.exceptions))\n",
        namespace,
    )
    assert namespace["seen"] == [1, 1]


def test_raised_error_shows_the_remote_traceback() -> None:
    shown = "".join(traceback.format_exception_only(_at_caller(CodeError("c"))))
    assert shown.startswith("miniray.exceptions.RayTaskError(CodeError): ray::task() (pid=4711, ip=127.0.0.1)\n")
    assert shown.rstrip().endswith("CodeError: c")
