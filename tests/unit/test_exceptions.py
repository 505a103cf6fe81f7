"""Errors: names and shapes equal Ray's, every one survives pickle, and its text tells what to do."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from miniray import exceptions
from miniray.exceptions import (
    ActorDiedError,
    GetTimeoutError,
    ObjectStoreFullError,
    RayActorError,
    RayError,
    RayTaskError,
    UnserializableException,
    UnsupportedFeatureError,
    WorkerCrashedError,
)

RAY: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "ray_exceptions.json").read_text())
OWN = {"ForkedProcessError", "SegmentCorruptedError", "UnsupportedFeatureError", "VersionMismatchError"}

# Arguments by the name of the parameter, where "text" is not right.
ARGUMENTS: dict[str, object] = {
    "cause": None,
    "actor_id": b"\x12\x34",
    "owner_address": None,
    "actor_init_failed": True,
    "preempted": False,
    "pid": 4711,
}


def _parameters(error_type: type) -> list[list[str]]:
    """Return name, kind and default of each parameter that can be given by position, as the data file has them."""
    if not any("__init__" in vars(owner) for owner in error_type.__mro__ if owner.__module__.startswith("miniray")):
        return [["args", "*"]]
    found = []
    for parameter in inspect.signature(error_type).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            found.append([parameter.name, "*"])
        elif parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            default = [] if parameter.default is inspect.Parameter.empty else [repr(parameter.default)]
            found.append([parameter.name, "pos", *default])
    return found


def _samples() -> list[Any]:
    """Return every error, built by position and by keyword."""
    samples = []
    for name in exceptions.__all__:
        error_type = getattr(exceptions, name)
        parameters = inspect.signature(error_type).parameters if _parameters(error_type) != [["args", "*"]] else {}
        values = {key: ARGUMENTS.get(key, f"the {key}") for key in parameters if key not in ("args", "kwargs")}
        if error_type is RayTaskError:
            values["cause"] = ValueError(5)
        elif error_type is RayActorError:
            values["actor_id"] = "1234"
        by_position = ["text"] if "args" in parameters or not parameters else list(values.values())
        samples.append(pytest.param(error_type, by_position, {}, id=f"{name}-by-position"))
        samples.append(pytest.param(error_type, [], values, id=f"{name}-by-keyword"))
    samples.append(
        pytest.param(
            WorkerCrashedError,
            [],
            {"task_name": "f", "pid": 1, "exit_code": 3, "signal": None, "attempts": 4, "output_tail": "bye"},
            id="WorkerCrashedError-with-facts",
        )
    )
    return samples


def test_names_are_those_of_ray_and_four_of_miniray() -> None:
    assert set(exceptions.__all__) == set(RAY) | OWN
    assert len(exceptions.__all__) == len(set(exceptions.__all__))


@pytest.mark.parametrize("name", sorted(RAY))
def test_bases_are_those_of_ray(name: str) -> None:
    mro = getattr(exceptions, name).__mro__[1:-1]
    assert [base.__name__ for base in mro] == RAY[name]["bases"]


@pytest.mark.parametrize("name", sorted(RAY))
def test_parameters_are_those_of_ray(name: str) -> None:
    assert _parameters(getattr(exceptions, name)) == RAY[name]["params"]


@pytest.mark.parametrize("name", sorted(OWN))
def test_own_errors_are_ray_errors(name: str) -> None:
    assert issubclass(getattr(exceptions, name), RayError)


@pytest.mark.parametrize("name", exceptions.__all__)
def test_errors_name_the_public_module_as_theirs(name: str) -> None:
    error_type = getattr(exceptions, name)
    assert (error_type.__module__, error_type.__qualname__) == ("miniray.exceptions", name)
    assert error_type.__doc__


@pytest.mark.parametrize(("error_type", "args", "kwargs"), _samples())
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_error_survives_pickle(error_type: Any, args: list[Any], kwargs: dict[str, Any], protocol: int) -> None:
    error = error_type(*args, **kwargs)
    arrived = pickle.loads(pickle.dumps(error, protocol))
    assert type(arrived) is error_type
    assert str(arrived) == str(error)
    assert repr(arrived.__dict__) == repr(error.__dict__)
    if error_type is not RayTaskError:  # its args are made on arrival
        assert arrived.args == error.args


@pytest.mark.parametrize(("error_type", "args", "kwargs"), _samples())
def test_error_has_its_arguments_as_attributes(error_type: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    if error_type.__name__ in RAY:
        error = error_type(*args, **kwargs)
        assert set(RAY[error_type.__name__]["attrs"]) - {"_ray_task_error_args"} <= {*vars(error), "args"}


@pytest.mark.parametrize(("error_type", "args", "kwargs"), _samples())
def test_error_survives_cloudpickle_and_copy(error_type: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    error = error_type(*args, **kwargs)
    assert str(pickle.loads(cloudpickle.dumps(error))) == str(error)
    assert str(copy.copy(error)) == str(error)


class TwoWordError(RayError):
    """A user's subclass whose parameters differ from its args."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left}-{right}")
        self.left = left


def test_subclass_with_other_parameters_survives_pickle() -> None:
    arrived = pickle.loads(pickle.dumps(TwoWordError(1, right=2)))
    assert (type(arrived), arrived.left, str(arrived)) == (TwoWordError, 1, "1-2")


def test_notes_survive_pickle() -> None:
    error = RayError("text")
    error.__dict__["__notes__"] = ["a note"]
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["a note"]


def test_timeout_of_get_is_a_timeout_error() -> None:
    with pytest.raises(TimeoutError, match="2 of 3 refs"):
        raise GetTimeoutError("2 of 3 refs are not ready")


def test_unsupported_feature_names_the_feature_and_real_ray() -> None:
    with pytest.raises(NotImplementedError, match=r"miniray\.kill\(\): this release .* real Ray") as caught:
        raise UnsupportedFeatureError("miniray.kill()")
    assert caught.value.feature == "miniray.kill()"  # type: ignore[attr-defined]


def test_worker_crash_without_facts_begins_with_the_words_of_ray() -> None:
    assert str(WorkerCrashedError()).startswith("The worker died unexpectedly while executing this task.")


def test_worker_crash_tells_its_facts() -> None:
    error = WorkerCrashedError(task_name="simulate", pid=4711, signal="SIGKILL", attempts=4, output_tail="step 9\n")
    assert str(error).startswith(
        "The worker died unexpectedly while executing task 'simulate' (pid 4711): killed by SIGKILL, after 4 attempts. "
        "Last output:\nstep 9\n"
    )
    assert "out-of-memory" in str(error)
    assert (error.task_name, error.pid, error.signal, error.attempts) == ("simulate", 4711, "SIGKILL", 4)
    assert error.exit_code is None


def test_worker_exit_tells_its_status() -> None:
    text = str(WorkerCrashedError(task_name="f", pid=1, exit_code=3, attempts=1))
    assert "exited with status 3, after 1 attempt. " in text
    assert "os._exit()" in text


def test_worker_crash_with_a_text_shows_the_text() -> None:
    assert str(WorkerCrashedError("gone", pid=3)) == "gone"


def test_full_store_tells_sizes_and_the_next_step() -> None:
    error = ObjectStoreFullError(
        needed_for="the result of 'simulate'",
        needed_bytes=2 << 30,
        free_bytes=400,
        capacity_bytes=4 << 30,
        pinned_bytes=7 << 29,
    )
    assert str(error).startswith(
        "2.0 GiB needed for the result of 'simulate', 400 bytes of 4.0 GiB free, 3.5 GiB pinned.\n"
    )
    assert "init(object_store_memory=...)" in str(error)


def test_actor_that_failed_in_its_constructor_holds_the_text_but_not_the_type() -> None:
    cause = RayTaskError("A.__init__", "Traceback (most recent call last):\nValueError: v", ValueError("v"), pid=5)
    for error in (ActorDiedError(cause), ActorDiedError.from_task_error(cause)):
        assert error.actor_init_failed
        assert not isinstance(error, ValueError)
        assert "ray::A.__init__() (pid=5" in str(error)


def test_actor_that_died_tells_how() -> None:
    error = ActorDiedError("killed by SIGSEGV")
    assert str(error) == "The actor died unexpectedly before finishing this task.\nkilled by SIGSEGV"
    assert not error.actor_init_failed
    assert not error.preempted


def test_exception_that_could_not_be_rebuilt_keeps_its_text() -> None:
    text = str(UnserializableException("Traceback of it"))
    assert text.startswith("Failed to deserialize exception.")
    assert text.endswith("Original exception:\nTraceback of it")


def test_errors_of_miniray_alone_tell_their_facts() -> None:
    mismatch = exceptions.VersionMismatchError(segment_name="/miniray_1", found_version=3, expected_version=4)
    assert "/miniray_1 has layout version 3, this process expects 4" in str(mismatch)
    forked = exceptions.ForkedProcessError(operation="get()", parent_pid=11, pid=12)
    assert "get() was called in process 12, a fork of process 11" in str(forked)
    damaged = exceptions.SegmentCorruptedError(segment_name="/miniray_1", problem="a free list has a cycle")
    assert "/miniray_1 is damaged: a free list has a cycle" in str(damaged)
    assert str(exceptions.SegmentCorruptedError("a ready text")) == "a ready text"
