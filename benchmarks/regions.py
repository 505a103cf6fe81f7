"""Regions of a Markdown file that a program writes, between two comments; the rest is left as it is."""

import re


class RegionError(ValueError):
    """A file has no such region, or more than one."""


def begin(name: str) -> str:
    """Return the line before a region."""
    return f"<!-- benchmarks: {name} (written by benchmarks.render) -->"


def end(name: str) -> str:
    """Return the line after it."""
    return f"<!-- end of benchmarks: {name} -->"


def replace(text: str, name: str, body: str) -> str:
    """Return the text with another body in this region.

    Raises:
        RegionError: The region is not there exactly once.
    """
    pattern = re.compile(f"^{re.escape(begin(name))}$.*?^{re.escape(end(name))}$", re.DOTALL | re.MULTILINE)
    found = pattern.findall(text)
    if len(found) != 1:
        raise RegionError(f"{len(found)} regions '{name}', one is needed: {begin(name)} ... {end(name)}")
    written = f"{begin(name)}\n\n{body.strip()}\n\n{end(name)}"
    return pattern.sub(lambda _: written, text)
