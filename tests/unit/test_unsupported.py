"""What this release does not offer: Ray's signatures, one clear error."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import miniray
from miniray._api import unsupported
from miniray.exceptions import UnsupportedFeatureError

RAY: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "ray_functions.json").read_text())
FUNCTIONS = {function.__name__: function for function in unsupported.UNSUPPORTED_FUNCTIONS}
KINDS = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "pos",
    inspect.Parameter.KEYWORD_ONLY: "kw",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


@pytest.mark.parametrize("name", sorted(RAY["functions"]))
def test_function_has_the_parameters_of_ray(name: str) -> None:
    found = [
        [each.name, KINDS[each.kind], *([] if each.default is inspect.Parameter.empty else [repr(each.default)])]
        for each in inspect.signature(getattr(miniray, name)).parameters.values()
    ]
    assert found == RAY["functions"][name]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_call_is_refused_by_name(name: str) -> None:
    function: Any = FUNCTIONS[name]
    required = [
        each for each in inspect.signature(function).parameters.values()
        if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD
    ]  # fmt: skip
    with pytest.raises(UnsupportedFeatureError, match=rf"^miniray\.{name}\(\)"):
        function(*("x" for _ in required))


def test_wrong_call_is_a_type_error() -> None:
    function: Any = unsupported.java_function
    with pytest.raises(TypeError):
        function()


def test_every_name_of_ray_is_offered_or_refused() -> None:
    refused = {*FUNCTIONS, *unsupported.UNSUPPORTED_ATTRIBUTES, *unsupported.UNSUPPORTED_SUBMODULES}
    assert set(RAY["names"]) <= refused | set(RAY["offered"])
    assert not refused & set(RAY["offered"])


@pytest.mark.parametrize("name", ["data", "Language", "util.pdb"])
def test_attribute_of_ray_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedFeatureError, match=rf"^miniray\.{name} \("):
        unsupported.raise_unsupported_attribute(name)


def test_attribute_that_ray_has_not_either_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'miniray' has no attribute 'nothing'"):
        _ = miniray.nothing  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="module 'miniray.util' has no attribute 'nothing'"):
        _ = miniray.util.nothing


@pytest.mark.parametrize("name", ["data", "util.iter", "util.state"])
def test_import_of_a_module_of_ray_is_refused_by_name(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=rf"^miniray\.{name} \(.*real Ray") as caught:
        importlib.import_module(f"miniray.{name}")
    assert caught.value.name == f"miniray.{name}"


def test_import_of_what_ray_has_not_either_fails_as_always() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'miniray.nothing'"):
        importlib.import_module("miniray.nothing")


def test_utilities_are_not_imported_before_somebody_asks() -> None:
    code = "import sys, miniray; assert 'miniray.util' not in sys.modules; miniray.util.ActorPool"
    subprocess.run([sys.executable, "-c", code], check=True)
