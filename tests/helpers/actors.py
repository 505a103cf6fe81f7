"""A class for actors of tests, apart from them: workers import this module, and tests import much more."""

from __future__ import annotations

import os
from typing import NoReturn

from helpers.states import wait_until


class Plain:
    """Says who and what it is, waits, and dies."""

    def __init__(self, *args: object) -> None:
        """Keep the arguments."""
        self.args = args

    def answer(self) -> int:
        """Return 42."""
        return 42

    def pid(self) -> int:
        """Return the number of this process."""
        return os.getpid()

    def back(self, value: object) -> object:
        """Return the value."""
        return value

    def read(self) -> tuple[object, ...]:
        """Return the arguments of the constructor."""
        return self.args

    def wait_for(self, path: str) -> str:
        """Block until there is such a file."""
        wait_until(lambda: os.path.exists(path), f"{path} is there")
        return "waited"

    def die(self) -> NoReturn:
        """End this process at once."""
        os._exit(1)
