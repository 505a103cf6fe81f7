"""Checks that includes and imports go one way, and that only platform/ knows the operating system."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# A folder of cpp/ includes itself and the folders before it.
FOLDERS = ["platform", "debug", "shm", "process", "store", "scheduler", "runtime", "recovery", "python", "bindings"]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')
SYSTEM_CONDITION = re.compile(
    r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*\b(__linux__|__APPLE__|__unix__|_WIN32|__FreeBSD__)\b"
)
SYSTEM_HEADERS = re.compile(
    r"(?:sys|linux|mach|asm|net|netinet|arpa)/.*|(?:aio|dirent|dlfcn|fcntl|ftw|grp|libproc|netdb|poll|pthread|pwd|sched|"
    r"semaphore|signal|spawn|syscall|syslog|termios|ucontext|unistd|wait)\.h"
)

# A module of src/miniray imports those of its own rank and below. What is not named here is public, and may import all.
RANKS = {
    "_record": 0,
    "exceptions": 0,
    "_own_errors": 0,
    "_task_error": 0,
    "_miniray_core": 1,
    "_runtime": 2,
    "_api": 3,
}
PUBLIC = 4


def include_faults(root: Path) -> Iterator[str]:
    for path in sorted([*root.rglob("*.hpp"), *root.rglob("*.cpp")]):
        folder = path.relative_to(root).parts[0]
        if folder not in FOLDERS:
            yield f"cpp/{path.relative_to(root)}: no such layer; tools/check_layers.py lists them"
            continue
        allowed = FOLDERS[: FOLDERS.index(folder) + 1]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            place = f"cpp/{path.relative_to(root)}:{number}"
            if folder != "platform" and (condition := SYSTEM_CONDITION.match(line)):
                yield f"{place}: the condition on {condition[1]} belongs to platform/"
            if not (include := INCLUDE.match(line)):
                continue
            kind, name = include.groups()
            target = name.split("/")[0]
            if kind == '"' and not (root / name).is_file():
                yield f'{place}: "{name}" is not a path from cpp/'
            elif kind == '"' and target not in allowed:
                yield f"{place}: {folder} must not include {target}"
            elif kind == "<" and folder != "platform" and SYSTEM_HEADERS.fullmatch(name):
                yield f"{place}: <{name}> belongs to platform/"
            elif kind == "<" and folder not in ("python", "bindings") and re.match(r"Python\.h|nanobind/", name):
                yield f"{place}: <{name}> belongs to python/ and bindings/"


def imported_modules(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Yields line and absolute name of every import that runs, so none of those for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imported_modules(other, package)
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)
        yield from imported_modules(node, package)


def import_faults(root: Path) -> Iterator[str]:
    def rank(parts: list[str]) -> int:
        return RANKS.get(parts[0], PUBLIC) if parts else PUBLIC

    for path in sorted(root.rglob("*.py")):
        parts = list(path.relative_to(root).with_suffix("").parts)
        own = rank(parts)
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for line, name in imported_modules(tree, ["miniray", *parts[:-1]]):
            target = name.split(".")
            # Of the whole package, only its parts with a rank are layers: `from miniray import x` is the facade.
            if target[0] == "miniray" and rank(target[1:]) > own:
                yield f"src/miniray/{path.relative_to(root)}:{line}: {parts[0]} must not import {name}"


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    faults = [*include_faults(root / "cpp"), *import_faults(root / "src" / "miniray")]
    for fault in faults:
        print(fault)
    print(f"layers: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
