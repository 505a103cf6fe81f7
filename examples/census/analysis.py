"""What one Python source file says about how Python is written: the work of the tasks, free of any parallelism.

A `Census` is the answer for any number of files. Censuses merge in any order and grouping to the same result, so a
tree of tasks, a pool and a plain loop must agree exactly; `source_census.py` checks that they do.
"""

from __future__ import annotations

import ast
import builtins
import os
import sysconfig
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

TOP_FUNCTIONS = 10
"""How many functions each ranking keeps, here and in every merge."""

BATCH_BYTES = 128 * 1024
"""Source text of one batch, about 40 ms of work; a larger file is a batch of its own."""


class SourceFile(NamedTuple):
    """One file of the corpus."""

    path: str
    label: str  # path below its root, as in `json/decoder.py`
    package: str
    size_bytes: int


class RankedFunction(NamedTuple):
    """One row of a ranking; larger is longer or more complex, and ties are broken by the other fields."""

    score: int
    name: str
    label: str
    line: int


@dataclass
class Census:
    """Everything found in some files."""

    packages: dict[str, Counter[str]] = field(default_factory=dict)  # package -> files, lines, functions, ...
    constructs: Counter[str] = field(default_factory=Counter)
    importing_files: Counter[str] = field(default_factory=Counter)  # module -> files that import it
    builtin_calls: Counter[str] = field(default_factory=Counter)
    longest: list[RankedFunction] = field(default_factory=list)
    most_branches: list[RankedFunction] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # (label, reason), files that are not Python 3

    def total(self, key: str) -> int:
        """Return the sum of one column of `packages`."""
        return sum(package[key] for package in self.packages.values())


# ----------------------------------------------------------------------------------------------------------- the corpus


def find_sources(limit: int | None = None) -> list[SourceFile]:
    """Return every Python file of the standard library and of this environment's packages, sorted by path.

    Args:
        limit: At most so many files, spread evenly over all of them; None for all.
    """
    paths = sysconfig.get_paths()
    standard_library = Path(paths["stdlib"])
    found: dict[str, SourceFile] = {}
    for root in (standard_library, Path(paths["purelib"]), Path(paths["platlib"])):
        for folder, subfolders, names in os.walk(root):
            # The interpreter's own packages lie inside its library and do not belong to a virtual environment.
            subfolders[:] = [name for name in subfolders if name not in ("site-packages", "dist-packages")]
            for path in (Path(folder, name) for name in names if name.endswith(".py")):
                if path.is_file():
                    label = path.relative_to(root)
                    package = _package(label, root is standard_library)
                    found[str(path)] = SourceFile(str(path), str(label), package, path.stat().st_size)
    files = [found[path] for path in sorted(found)]
    if limit is not None and limit < len(files):
        files = [files[i * len(files) // limit] for i in range(limit)]
    return files


def _package(label: Path, in_standard_library: bool) -> str:
    if not in_standard_library:
        return label.parts[0].removesuffix(".py")
    return "stdlib: tests" if {"test", "tests", "idle_test"} & set(label.parts) else "stdlib"


def make_batches(files: Sequence[SourceFile]) -> list[list[SourceFile]]:
    """Cut the files, in order, into runs of about `BATCH_BYTES`."""
    batches: list[list[SourceFile]] = []
    room = 0
    for file in files:
        if file.size_bytes > room or not batches:
            batches.append([])
            room = BATCH_BYTES
        batches[-1].append(file)
        room -= file.size_bytes
    return batches


# ------------------------------------------------------------------------------------------------------------- one file

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LEAVES = (ast.Name, ast.Constant, ast.alias, ast.Global, ast.Nonlocal, ast.expr_context, *_FUNCTIONS)
_NOT_CHILDREN = {"ctx", "op", "ops", "id", "attr", "arg", "name", "names", "type_comment", "kwd_attrs", "rest"}

# Which attributes of a node hold child nodes. Functions have none here: each is walked as a scope of its own.
_CHILD_FIELDS: defaultdict[type, tuple[str, ...]] = defaultdict(tuple)
for _class in vars(ast).values():
    if isinstance(_class, type) and issubclass(_class, ast.AST) and not issubclass(_class, _LEAVES):
        _CHILD_FIELDS[_class] = tuple(name for name in _class._fields if name not in _NOT_CHILDREN)
_FUNCTION_FIELDS = ("args", "body", "decorator_list", "returns")

_BRANCHES = {"If", "For", "AsyncFor", "While", "ExceptHandler", "IfExp", "comprehension", "match_case"}
_BUILTINS = {name for name in vars(builtins) if not name.startswith("_")}

CONSTRUCTS = {
    "ClassDef": "class",
    "Lambda": "lambda",
    "JoinedStr": "f-string",
    "ListComp": "list comprehension",
    "DictComp": "dict comprehension",
    "SetComp": "set comprehension",
    "GeneratorExp": "generator expression",
    "IfExp": "a if b else c",
    "NamedExpr": "walrus :=",
    "Match": "match statement",
    "AsyncFunctionDef": "async def",
    "Await": "await",
    "Yield": "yield",
    "With": "with",
    "Try": "try",
    "TryStar": "try ... except*",
    "Global": "global",
    "Assert": "assert",
    "TypeAlias": "type alias",
}
"""Node class to what the table calls it."""


def census_of_files(files: Sequence[SourceFile]) -> Census:
    """Parse the files and count what is in them."""
    census = Census()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes and the like: the authors' business
        for file in files:
            _add_file(census, file)
    return census


def _add_file(census: Census, file: SourceFile) -> None:
    source = Path(file.path).read_bytes()
    counts = census.packages.setdefault(file.package, Counter())
    counts["files"] += 1
    counts["bytes"] += len(source)
    counts["lines"] += source.count(b"\n")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        census.unreadable.append((file.label, f"{type(error).__name__}: {error.args[0]}"))
        return
    census.constructs["TODO or FIXME"] += source.count(b"TODO") + source.count(b"FIXME")
    imported: set[str] = set()
    scopes: list[ast.AST] = [tree]
    for scope in scopes:  # grows while it is walked
        nodes = _nodes_of_scope(scope)
        kinds = Counter([node.__class__.__name__ for node in nodes])
        branches = sum(kinds[name] for name in _BRANCHES)
        for node in nodes:
            kind = node.__class__
            if kind is ast.Call:
                if node.func.__class__ is ast.Name and node.func.id in _BUILTINS:
                    census.builtin_calls[node.func.id] += 1
            elif kind is ast.BoolOp:
                branches += len(node.values) - 1
            elif kind is ast.Import:
                imported.update(name.name.partition(".")[0] for name in node.names)
            elif kind is ast.ImportFrom:
                imported.add("." if node.level else node.module.partition(".")[0])
            elif kind in _FUNCTIONS:
                scopes.append(node)
            elif kind is ast.ClassDef:
                counts["classes"] += 1
        for name in kinds.keys() & CONSTRUCTS.keys():
            census.constructs[CONSTRUCTS[name]] += kinds[name]
        if scope.__class__ in _FUNCTIONS:
            _add_function(census, counts, file, scope, branches)
    census.importing_files.update(imported)


def _nodes_of_scope(scope: ast.AST) -> list[ast.AST]:
    """Return the nodes below a module or function, nested functions as one node each."""
    nodes: list = []
    for name in _FUNCTION_FIELDS if scope.__class__ in _FUNCTIONS else ("body",):
        value = getattr(scope, name)
        nodes += value if value.__class__ is list else [value]
    child_fields = _CHILD_FIELDS
    for node in nodes:  # grows while it is walked; None and strings have no fields
        for name in child_fields[node.__class__]:
            value = getattr(node, name)
            if value.__class__ is list:
                nodes += value
            elif value is not None:
                nodes.append(value)
    return nodes


def _add_function(census: Census, counts: Counter[str], file: SourceFile, node: ast.AST, branches: int) -> None:
    counts["functions"] += 1
    counts["branches"] += branches
    counts["annotated"] += _is_annotated(node)
    first = node.body[0]
    counts["documented"] += (
        first.__class__ is ast.Expr and first.value.__class__ is ast.Constant and first.value.value.__class__ is str
    )
    _rank(census.longest, RankedFunction(node.end_lineno - node.lineno + 1, node.name, file.label, node.lineno))
    _rank(census.most_branches, RankedFunction(branches, node.name, file.label, node.lineno))


def _is_annotated(function: ast.AST) -> bool:
    """Whether every parameter and the result have a type; `self`, `cls` and the result of `__init__` need none."""
    parameters = function.args
    named = parameters.posonlyargs + parameters.args
    if named and named[0].arg in ("self", "cls"):
        del named[0]
    named += parameters.kwonlyargs
    named += [extra for extra in (parameters.vararg, parameters.kwarg) if extra]
    return (function.returns is not None or function.name == "__init__") and all(item.annotation for item in named)


def _rank(ranking: list[RankedFunction], row: RankedFunction) -> None:
    if len(ranking) < TOP_FUNCTIONS or row > ranking[-1]:
        ranking.append(row)
        ranking.sort(reverse=True)
        del ranking[TOP_FUNCTIONS:]


# -------------------------------------------------------------------------------------------------------- the reduction


def merge_censuses(*censuses: Census) -> Census:
    """Return one census of all their files; the arguments stay as they are."""
    merged = Census()
    for census in censuses:
        for package, counts in census.packages.items():
            merged.packages.setdefault(package, Counter()).update(counts)
        merged.constructs.update(census.constructs)
        merged.importing_files.update(census.importing_files)
        merged.builtin_calls.update(census.builtin_calls)
        merged.longest += census.longest
        merged.most_branches += census.most_branches
        merged.unreadable += census.unreadable
    for ranking in (merged.longest, merged.most_branches):
        ranking.sort(reverse=True)
        del ranking[TOP_FUNCTIONS:]
    merged.unreadable.sort()
    return merged
