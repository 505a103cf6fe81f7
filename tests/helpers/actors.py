"""Classes for actors of tests, apart from them: workers import this module, and tests import much more."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import NoReturn

from helpers.states import wait_until
from miniray.actor import exit_actor


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


class Async:
    """The same as coroutines."""

    def __init__(self) -> None:
        """Make what calls wait for."""
        self.opened = asyncio.Event()
        self.loop = asyncio.get_running_loop()  # of who waits

    async def back(self, value: object) -> object:
        """Return the value."""
        return value

    async def fail(self, value: object) -> NoReturn:
        """Raise an error that says the value."""
        raise ValueError(f"{value}")

    async def wait(self, value: object = None) -> object:
        """Return the value once open() was called."""
        self.loop = asyncio.get_running_loop()
        await self.opened.wait()
        return value

    def open(self) -> None:
        """Let all go on."""
        self.loop.call_soon_threadsafe(self.opened.set)

    def pid(self) -> int:
        """Return the number of this process."""
        return os.getpid()

    async def leave(self) -> None:
        """Let all go on, and end the actor in order."""
        self.loop.call_soon_threadsafe(self.opened.set)
        exit_actor()


class Threads:
    """The same in threads."""

    def __init__(self) -> None:
        """Make what calls wait for."""
        self.opened = threading.Event()

    def back(self, value: object) -> object:
        """Return the value."""
        return value

    def fail(self, value: object) -> NoReturn:
        """Raise an error that says the value."""
        raise ValueError(f"{value}")

    def wait(self, value: object = None) -> object:
        """Return the value once open() was called."""
        self.opened.wait()
        return value

    def open(self) -> None:
        """Let all go on."""
        self.opened.set()

    def pid(self) -> int:
        """Return the number of this process."""
        return os.getpid()

    def leave(self) -> None:
        """Let all go on, and end the actor in order."""
        self.opened.set()
        exit_actor()
