"""Builds and loads the floor's extension, once per Python, in ``build/benchmarks``."""

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from types import ModuleType

_SOURCE = Path(__file__).with_name("ring.cpp")
_BUILD = Path(__file__).resolve().parents[2] / "build" / "benchmarks"


def compiler() -> str | None:
    """Return the C++ compiler to use, if there is one."""
    return os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


def load() -> ModuleType:
    """Return the module ``floor_ring``, compiled now if its source is newer."""
    target = _BUILD / ("floor_ring" + sysconfig.get_config_var("EXT_SUFFIX"))
    if not target.exists() or target.stat().st_mtime < _SOURCE.stat().st_mtime:
        _BUILD.mkdir(parents=True, exist_ok=True)
        include = sysconfig.get_paths()["include"]
        partial = target.with_suffix(f".{os.getpid()}")
        command = [compiler() or "c++", "-O2", "-std=c++20", "-shared", "-fPIC", f"-I{include}", str(_SOURCE)]
        subprocess.run([*command, "-o", str(partial)], check=True)
        partial.replace(target)
    spec = importlib.util.spec_from_file_location("floor_ring", target)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
