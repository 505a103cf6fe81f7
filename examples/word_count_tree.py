"""Tasks that start tasks: the words of the standard library's documentation, counted by a tree.

Each task splits its modules in two, starts a task for each half and adds up their answers. While a task waits in
`ray.get` it lends its CPU to others, so that a deep tree finishes on one CPU as well as on many.
"""

import ast
import re
import sysconfig
from collections import Counter
from pathlib import Path

import miniray as ray

LEAF_FILES = 8


@ray.remote
def count_words(paths):
    """Return how often each word occurs in the docstrings of the files."""
    if len(paths) > LEAF_FILES:
        middle = len(paths) // 2
        halves = ray.get([count_words.remote(paths[:middle]), count_words.remote(paths[middle:])])
        return halves[0] + halves[1]
    words = Counter()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                words.update(re.findall("[a-z]{5,}", (ast.get_docstring(node) or "").lower()))
    return words


def main():
    ray.init(num_cpus=2)
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:96]
    words = ray.get(count_words.remote(paths))
    print(f"{words.total():,} words of five letters or more in the docstrings of {len(paths)} modules")
    for word, count in words.most_common(8):
        print(f"{word:>12} {count:6,}")
    ray.shutdown()


if __name__ == "__main__":
    main()
