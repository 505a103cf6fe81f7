"""What importing miniray does not import: each of these modules takes a part of a millisecond to several.

Times are not tested, they depend on the machine; docs/design/start-up.md has figures. A module that has to come off a
list here has its reason there.
"""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

SLOW = {
    "asyncio": "async actors and awaited refs import it",
    "cloudpickle": "the first function that is exported imports it, while the supervisor starts",
    "dataclasses": "it imports inspect, and compiles each class: miniray._record takes its place",
    "hashlib": "it loads OpenSSL; miniray._runtime.digest imports it at the first digest",
    "importlib.resources": "importlib.abc imports it",
    "inspect": "it imports ast, dis and tokenize; signatures need it at the first call",
    "json": "runtime environments and their like need it",
    "logging": "miniray._runtime.log imports it when there is something to say",
    "multiprocessing": "miniray.util.multiprocessing needs it",
    "numpy": "optional",
    "pathlib": "os.path does the same for the few paths of a start",
    "random": "tempfile imports it",
    "shutil": "removing folders needs it",
    "socket": "init() needs it; it imports selectors",
    "subprocess": "init() needs it",
    "tempfile": "miniray._runtime.temp_folder takes its place",
    "traceback": "errors of tasks need it",
    "urllib": "runtime environments with places need it",
    "uuid": "it imports platform",
    "miniray._api.init_options": "only init() needs it",
    "miniray._api.placement_groups": "few programs have any",
    "miniray._api.runtime_env": "few programs have any",
    "miniray._runtime.monitor": "only init() needs it",
    "miniray._runtime.observation": "diagnostics and errors of a full store need it",
    "miniray._runtime.runtime": "only init() needs it",
    "miniray.util": "imported when somebody asks",
}


def imported_by(program: str, *, before: str = "") -> set[str]:
    """Return the modules that a program of its own imports, without those that every Python has anyway."""
    text = f"import sys\n{before}\nthere = set(sys.modules)\n{program}\nprint(sorted(set(sys.modules) - there))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return set(ast.literal_eval(done.stdout))


def test_importing_miniray_imports_nothing_slow() -> None:
    found = imported_by("import miniray")
    assert "miniray._api.session" in found
    assert sorted(found & SLOW.keys()) == []


def test_decorating_a_function_imports_nothing_slow() -> None:
    found = imported_by("import miniray\n@miniray.remote\ndef f(): pass\n@miniray.remote(num_cpus=2)\ndef g(): yield")
    assert sorted(found & SLOW.keys()) == []


def test_supervisor_imports_no_more_than_it_and_workers_need() -> None:
    found = imported_by("import miniray._runtime.supervisor")
    assert "socket" in found  # the pipes of a worker are to be handed on at once: who dies soon must be heard
    assert sorted(found & (SLOW.keys() - {"socket"})) == []


@pytest.mark.parametrize("name", ["LoggingConfig", "nodes", "empty", "get_gpu_ids", "get_runtime_context", "util"])
def test_what_is_imported_on_demand_looks_like_the_rest(name: str) -> None:
    program = (
        f"import miniray\nassert {name!r} in dir(miniray)\nfrom miniray import {name}\nassert miniray.{name} is {name}"
    )
    assert "miniray" in imported_by(program)


def test_star_import_brings_what_is_imported_on_demand() -> None:
    assert "miniray._api.logging_config" in imported_by("from miniray import *\nassert LoggingConfig and nodes")
