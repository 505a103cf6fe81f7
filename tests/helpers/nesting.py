"""A task that waits for a task, and so on; in a module that loads little, because a thousand workers load it."""

import miniray


def down(depth: int) -> int:
    """Return the depth, counted by as many tasks, each in a worker of its own."""
    return 0 if depth == 0 else 1 + miniray.get(miniray.remote(down).remote(depth - 1))
