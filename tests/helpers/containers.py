"""Namespaces of their own for the programs of tests that run as root."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest


def in_namespaces(*options: str) -> list[str]:
    """Return a command that runs what is written behind it in namespaces of its own; options are those of unshare(1).

    With ``--pid`` it is not the first process there: a shell is, which reaps what loses its parent. With ``--mount`` it has a
    ``/dev/shm`` of its own.
    """
    command = ["unshare", *options]
    mount = "mount -t tmpfs tmpfs /dev/shm && " if "--mount" in options else ""
    if "--pid" in options:
        command += ["--fork", "--mount-proc", "--kill-child"]
    command += ["sh", "-c", f'{mount}"$@" & wait $!; exit $?', "sh"]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.fail(f"this root may not make namespaces (CAP_SYS_ADMIN): {tried.stderr.strip()}")
    return command


def output_of(command: Sequence[str]) -> str:
    """Return what a command prints; its failure fails the test."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
