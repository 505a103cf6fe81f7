# _runtime/structured_log.py - log records with the ids of where they were made, as text or JSON.
#
# Invariants  L1 a process has one such handler at most, on the root logger and "miniray"; another init() replaces it.
#             L2 records carry ids of their own process: _context() looks them up when a record is made.
# Source      Ray 2.60.0, python/ray/_common/filters.py, formatters.py, for keys and format.
"""Logging of driver and workers, as ``init(logging_config=...)`` asks for it."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core
from miniray._record import Record
from miniray._runtime import actor_host, ids

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ENCODINGS", "STANDARD_ATTRIBUTES", "LogSettings", "apply"]

ENCODINGS = ("TEXT", "JSON")
STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "message", "taskName"}
"""Attributes that every record of the logging module has."""

_FORMAT = "%(asctime)s\t%(levelname)s %(filename)s:%(lineno)s -- %(message)s"
_TIME_KEY = "timestamp_ns"


class LogSettings(Record):
    """What ``LoggingConfig`` says, for all processes of a session.

    Attributes:
        encoding: One of ``ENCODINGS``.
        level: Name of the lowest level to log.
        attributes: Attributes of records to add.
    """

    encoding: str
    level: str
    attributes: tuple[str, ...] = ()


class _Formatter(logging.Formatter):
    def __init__(self, settings: LogSettings, context: Callable[[], dict[str, Any]]) -> None:
        super().__init__(_FORMAT)
        self._settings = settings
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        extra = {name: getattr(record, name, None) for name in self._settings.attributes}
        extra.update({key: value for key, value in vars(record).items() if key not in STANDARD_ATTRIBUTES})
        extra.update({key: value for key, value in self._context().items() if value})
        extra[_TIME_KEY] = time.time_ns()
        if self._settings.encoding == "TEXT":
            return f"{super().format(record)} {' '.join(f'{key}={value}' for key, value in extra.items())}"
        every: dict[str, Any] = {
            "asctime": self.formatTime(record),
            "levelname": record.levelname,
            "message": record.getMessage(),
            "filename": record.filename if hasattr(record, "filename") else "",
            "lineno": record.lineno,
            "process": record.process,
        }
        if record.exc_info:
            every["exc_text"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps({**every, **extra}, default=str)


def _context() -> dict[str, Any]:
    """Return the ids of where a record is made; none outside a session."""
    if not core._is_attached():
        return {}
    found = {"job_id": ids.JOB_ID, "worker_id": ids.worker_id(), "node_id": ids.node_id()}
    running = ids.running()
    if running is None:
        return {**found, "actor_id": ids.actor_id()}
    made_by = actor_host.own_actor()
    return {
        **found,
        "actor_id": ids.actor_id(),
        "task_id": ids.task_id(),
        "task_name": running[1],
        "actor_name": None if made_by is None else made_by.name,
    }


def apply(settings: LogSettings) -> None:
    """Send the log of this process to standard error in that form."""
    handler = _Handler()
    handler.setFormatter(_Formatter(settings, _context))
    handler.setLevel(settings.level)
    for logger in (logging.getLogger(), logging.getLogger("miniray")):
        for other in [each for each in logger.handlers if isinstance(each, _Handler)]:
            logger.removeHandler(other)
        logger.setLevel(settings.level)
        logger.addHandler(handler)
    logging.getLogger("miniray").propagate = False


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]  # no subscript in Python 3.10
    """What apply() put there."""
