# _runtime/structured_log.py - log records with the ids of where they were made, as text or JSON.
#
# Invariants  L1 a process has one such handler at most, on the root logger and "miniray"; another init() replaces it.
#             L2 records carry ids of their own process: context() looks them up when a record is made.
# Source      Ray 2.60.0, python/ray/_common/filters.py, formatters.py, for keys and format.
"""Logging of driver and workers, as ``init(logging_config=...)`` asks for it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from miniray import _miniray_core as core

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ENCODINGS", "STANDARD_ATTRIBUTES", "LogSettings", "apply"]

ENCODINGS = ("TEXT", "JSON")
STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "message", "taskName"}
"""Attributes that every record of the logging module has."""

_FORMAT = "%(asctime)s\t%(levelname)s %(filename)s:%(lineno)s -- %(message)s"
_JOB_ID = "01000000"  # a session runs one job
_TIME_KEY = "timestamp_ns"


@dataclass(frozen=True)
class LogSettings:
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


def apply(settings: LogSettings, session: str) -> None:
    """Send the log of this process to standard error in that form.

    Args:
        settings: How.
        session: Name of the session.
    """
    worker_id = hashlib.blake2b(f"{session} {os.getpid()}".encode(), digest_size=28).hexdigest()
    ids = {"job_id": _JOB_ID, "worker_id": worker_id, "node_id": session}

    def context() -> dict[str, Any]:
        actor = core._own_actor()
        return {**ids, "actor_id": actor.hex() if actor is not None else None, "task_name": core._current_task_name()}

    handler = _Handler()
    handler.setFormatter(_Formatter(settings, context))
    handler.setLevel(settings.level)
    for logger in (logging.getLogger(), logging.getLogger("miniray")):
        for other in [each for each in logger.handlers if isinstance(each, _Handler)]:
            logger.removeHandler(other)
        logger.setLevel(settings.level)
        logger.addHandler(handler)
    logging.getLogger("miniray").propagate = False


class _Handler(logging.StreamHandler[Any]):
    """What apply() put there."""
