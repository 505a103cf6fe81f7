"""The surface of Ray that users and libraries see: every name of its core and utilities is here or on a list below.

The facts are Ray's own (data/ray_surface.json, from Ray 2.60.0): names, kinds, parameters, defaults, bases of errors.
What is missing on purpose has a reason; what is still to come is on a list that shrinks: a name on it that exists fails.
"""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from miniray._api import unsupported
from miniray.exceptions import UnsupportedFeatureError

RAY: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "ray_surface.json").read_text())
KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "posonly",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "pos",
    inspect.Parameter.KEYWORD_ONLY: "kw",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}

IDS = ("ActorClassID", "ActorID", "FunctionID", "JobID", "NodeID", "PlacementGroupID", "TaskID", "UniqueID", "WorkerID")

NOT_YET: dict[str, str] = {}

LEFT_OUT = {
    "_private.worker.RayContext": "a private path; what init() returns is tested in tests/conformance",
    "dag.compiled_dag_node.CompiledDAG": "channels between machines and GPUs; execute() runs the same graph",
    "experimental.compiled_dag_ref.CompiledDAGFuture": "of compiled graphs",
    "experimental.compiled_dag_ref.CompiledDAGRef": "of compiled graphs",
    **dict.fromkeys([name for name in RAY if name.startswith("util.iter.")], "deprecated in Ray"),
}

# Members of classes that are here.
REFS = ("ObjectID", "ObjectRef")
MEMBERS_NOT_YET: dict[str, str] = {}
MEMBERS_LEFT_OUT = {
    **{f"{name}.call_site": "miniray memory shows it" for name in REFS},
    **{f"{name}.from_hex": "names an object without keeping it; core.ObjectID has it" for name in REFS},
    **{f"{name}.owner_address": "objects have no owner" for name in REFS},
    **{f"{name}.redis_shard_hash": "there is no Redis" for name in (*REFS, *IDS)},
    **{f"{name}.tensor_transport": "there is no transport but shared memory" for name in REFS},
    **{f"{name}.type_hint": "of compiled graphs" for name in RAY if name.startswith("dag.")},
    "dag.DAGNode.traverse_and_apply": "of compiled graphs",
}
MADE_PER_INSTANCE = {  # tests/conformance calls them
    "actor.ActorHandle.__ray_call__",
    "actor.ActorHandle.__ray_ready__",
    "actor.ActorHandle.__ray_terminate__",
    "actor.ActorMethod.remote",
    "remote_function.RemoteFunction.remote",
}

OTHER_PARAMETERS = {
    "get": "_use_object_store is for Ray itself",
    "init": "its parameters are in one table (tests/unit/test_init_options.py compares it)",
    "util.multiprocessing.pool.IMapIterator.next": "the two iterators of Ray that have a timeout are one class here",
}
OWN_PARAMETERS = {  # more than Ray has: keywords with a default
    "util.multiprocessing.Pool.apply": {"kwds": "the standard library's word"},
    "util.multiprocessing.Pool.apply_async": {"kwds": "the standard library's word"},
    "util.multiprocessing.Pool.starmap_async": {"chunksize": "the standard library has it"},
}
OTHER_VALUES = {
    "__version__": "miniray's own version",
    "actor.ActorProxy": "an alias for annotations",
    "util.placement_group.VALID_PLACEMENT_GROUP_STRATEGIES": "a set, in any order; tests/conformance compares it",
}
ABSENT = {**NOT_YET, **LEFT_OUT}


def find(path: str) -> Any:
    """Return what a path names, importing modules on the way as a user would."""
    found: Any = importlib.import_module("miniray")
    names = path.split(".")
    for position, name in enumerate(names):
        try:
            found = getattr(found, name)
        except AttributeError:
            try:
                found = importlib.import_module(".".join(["miniray", *names[: position + 1]]))
            except ModuleNotFoundError:
                # A function of the same name may hide the module: util.placement_group.
                module = importlib.import_module(".".join(["miniray", *names[:position]]))
                if not hasattr(module, name):
                    raise
                found = getattr(module, name)
    return found


def parameters(function: Any) -> list[list[str]] | None:
    """Return the parameters in the form of the data; None for functions in C that do not tell."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return None
    return [
        [each.name, KINDS[each.kind], *([] if each.default is each.empty else [repr(each.default)])]
        for each in signature.parameters.values()
    ]


def check_parameters(path: str, found: list[list[str]] | None, expected: list[list[str]]) -> None:
    if found is None or path in OTHER_PARAMETERS:
        return
    own = OWN_PARAMETERS.get(path, {})
    assert [each for each in found if each[0] not in own] == expected
    assert all(each[1] == "kw" and len(each) == 3 for each in found if each[0] in own)


@pytest.mark.parametrize("path", sorted(set(RAY) - set(ABSENT)))
def test_name_of_ray_is_here(path: str) -> None:
    expected, found = RAY[path], find(path)
    kind = expected["kind"]
    if kind == "constant":
        assert path in OTHER_VALUES or repr(found) == expected["value"] or found == expected["value"]
    elif kind == "module":
        assert inspect.ismodule(found)
    elif kind == "exception":
        assert [base.__name__ for base in found.__mro__[1:-1]] == expected["bases"]
    else:
        assert inspect.isclass(found) if kind == "class" else callable(found)
        if "params" in expected:
            check_parameters(path, parameters(found), expected["params"])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (path, name)
        for path in sorted(set(RAY) - set(ABSENT))
        for name in [*RAY[path].get("methods", ()), *RAY[path].get("properties", ())]
        if RAY[path]["kind"] == "class" and f"{path}.{name}" not in MADE_PER_INSTANCE
    ],
)
def test_member_of_a_class_is_here(path: str, name: str) -> None:
    found, member = find(path), f"{path}.{name}"
    if member in MEMBERS_NOT_YET or member in MEMBERS_LEFT_OUT:
        assert not hasattr(found, name), f"{member} exists: take it off the list"
        return
    method = getattr(found, name)
    if name in RAY[path].get("methods", {}):
        expected = RAY[path]["methods"][name]
        actual = parameters(method)
        if actual and expected["how"] in ("method", "async") and not inspect.ismethod(method):
            actual = actual[1:]  # self
        if not name.startswith("__") or name == "__exit__":  # of operators the names do not matter
            check_parameters(member, actual, expected["params"])
        assert inspect.iscoroutinefunction(method) == (expected["how"] == "async")


@pytest.mark.parametrize("path", sorted(ABSENT))
def test_absent_name_is_refused_and_names_real_ray(path: str) -> None:
    with pytest.raises((ImportError, UnsupportedFeatureError), match="real Ray"):
        use(path)


def use(path: str) -> None:
    found = find(path)
    assert found in unsupported.UNSUPPORTED_FUNCTIONS, f"{path} exists: take it off the list"
    required = [each for each in inspect.signature(found).parameters.values() if each.default is each.empty]
    found(*("x" for _ in required))


def test_lists_hold_names_of_ray_with_a_reason_each() -> None:
    members = {
        f"{path}.{name}"
        for path, facts in RAY.items()
        for name in [*facts.get("methods", ()), *facts.get("properties", ()), *facts.get("attrs", ())]
    }
    assert set(ABSENT) | set(OTHER_VALUES) <= set(RAY)
    assert not set(NOT_YET) & set(LEFT_OUT)
    assert set(MEMBERS_NOT_YET) | MADE_PER_INSTANCE | set(OWN_PARAMETERS) <= members
    assert set(OTHER_PARAMETERS) <= members | set(RAY)
    assert {name for name in MEMBERS_LEFT_OUT if not name.endswith(".type_hint")} <= members
    assert all((ABSENT | MEMBERS_NOT_YET | MEMBERS_LEFT_OUT | OTHER_PARAMETERS | OTHER_VALUES).values())
