# _runtime/memory_monitor.py - ends a worker when memory runs short, before the kernel ends a random process.
#
# Invariants  M1 it looks only while a worker has a task: with none it asks the core to ring the supervisor at the next
#                lease, and has no timeout. Busy: one look per refresh time.
#             M2 one worker at a time: the next is ended when the last one is gone and the memory is still short.
#             M3 of several workers the newest call goes first, those that are tried again before all others; the last
#                one left is not tried again, because it would meet the same end.
# Source      Ray 2.60.0: threshold, refresh time and their names; worker_killing_policy_group_by_owner.cc for M3,
#                where all
#             calls of one machine count as one group.
"""The memory monitor of the supervisor."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._record import Record
from miniray._runtime import memory_use
from miniray._runtime.worker_life import MEMORY_CAUSE, MEMORY_CAUSE_FOR_GOOD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MemoryEnd", "MemoryMonitor"]


class MemoryEnd(Record):
    """A worker that was ended for memory.

    Attributes:
        pid: The worker.
        cause: What the core is told: whether its task may be tried again.
        note: Number of the note with the sizes.
    """

    pid: int
    cause: int
    note: int


class MemoryMonitor:
    """Looks at the memory while tasks run.

    Args:
        settings: ``threshold`` (share of the memory) and ``refresh_s`` (seconds between two looks, 0: never).
        find_worker: From a process number to the descriptor of that worker, None for a stranger.
    """

    def __init__(self, settings: Mapping[str, Any], find_worker: Callable[[int], int | None]) -> None:
        """Keep the settings; see the class."""
        self._threshold: float = settings["threshold"]
        self._refresh_s: float = settings["refresh_s"]
        self._find_worker = find_worker
        self._ended: MemoryEnd | None = None  # on its way out
        self.look_at: float | None = None  # when to look next, in monotonic seconds

    def tend(self) -> None:
        """Look if it is time to, and set the time of the next look."""
        if self._refresh_s <= 0:
            return
        now = time.monotonic()
        if self.look_at is not None and now < self.look_at:
            return
        if self.look_at is not None and self._ended is None:
            self._look()
        self.look_at = None if core._let_memory_watch_sleep() else now + self._refresh_s

    def take_end_of(self, pid: int) -> MemoryEnd | None:
        """Return what is known of a worker that has ended, if this monitor ended it."""
        ended = self._ended
        if ended is None or ended.pid != pid:
            return None
        self._ended = None
        return ended

    def _look(self) -> None:
        use = memory_use.memory_use()
        if use is None or use.fraction < self._threshold:
            return
        tasks = core._running_tasks()
        if not tasks:
            return
        pid, name, _, may_repeat = max(tasks, key=lambda task: (task[3], task[2]))
        fd = self._find_worker(pid)
        if fd is None:
            return
        sizes = {task[0]: memory_use.own_bytes(task[0]) for task in tasks}
        lines = [f"{'PID':>10} {'MEMORY (MiB)':>14}  TASK"]
        for task in sorted(tasks, key=lambda task: -sizes[task[0]]):
            mark = "  <- ended" if task[0] == pid else ""
            lines.append(f"{task[0]:>10} {sizes[task[0]] / (1 << 20):>14.1f}  {task[1]}{mark}")
        if len(lines) > 24:
            lines[24:] = [f"{'...':>10} {len(lines) - 24} more"]
        may_repeat = may_repeat and len(tasks) > 1
        note = core._note_death(
            f"{use.used_bytes >> 20} MiB of the {use.limit_bytes >> 20} MiB of memory of {use.place} "
            f"were in use ({use.fraction:.1%}), more than the threshold of {self._threshold:.1%} "
            f"(RAY_memory_usage_threshold). The task '{name}' was the newest"
            f"{' and the only one' if len(tasks) == 1 else ''}. Workers with a task, by memory of their own:\n"
            + "\n".join(lines)
        )
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            self._ended = MemoryEnd(pid, MEMORY_CAUSE if may_repeat else MEMORY_CAUSE_FOR_GOOD, note)
