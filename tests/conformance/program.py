"""A script in a process of its own whose output a test reads while it runs."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# A line that does not come, or a script that does not end, is a failure after this many seconds: a watchdog.
_LOST_SECONDS = 90


class Program:
    """The running script. Terminal colours are taken out of what it prints."""

    def __init__(self, path: Path, source: str, environment: dict[str, str]) -> None:
        """Write the source to the path and start it, with these variables on top of the test's own."""
        path.write_text(source)
        self._process = subprocess.Popen(
            [sys.executable, str(path)],
            cwd=path.parent,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._arrivals: dict[str, queue.SimpleQueue[str | None]] = {}
        self._readers = [
            self._read("stdout", self._process.stdout),
            self._read("stderr", self._process.stderr),
        ]

    def _read(self, name: str, stream: IO[str]) -> threading.Thread:
        arrivals: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._arrivals[name] = arrivals

        def read() -> None:
            with stream:
                for line in stream:
                    plain = _COLOUR.sub("", line)
                    self._lines[name].append(plain)
                    arrivals.put(plain)
            arrivals.put(None)

        reader = threading.Thread(target=read, name=f"read {name}", daemon=True)
        reader.start()
        return reader

    def expect(self, pattern: str, stream: str = "stdout") -> re.Match[str]:
        """Block until a line of that stream holds the pattern, and return the match."""
        while True:
            try:
                line = self._arrivals[stream].get(timeout=_LOST_SECONDS)
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no line of {stream} holds {pattern!r}; there were: {self._lines}")
            if match := re.search(pattern, line):
                return match

    def finish(self) -> subprocess.CompletedProcess[str]:
        """Close the script's standard input, let it end, and return all that it printed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(timeout=_LOST_SECONDS)
        for reader in self._readers:
            reader.join(timeout=_LOST_SECONDS)
        return subprocess.CompletedProcess(
            self._process.args, code, "".join(self._lines["stdout"]), "".join(self._lines["stderr"])
        )

    def kill(self) -> None:
        """End the script if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        for reader in self._readers:
            reader.join(timeout=_LOST_SECONDS)
