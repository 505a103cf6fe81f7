# _runtime/error_capture.py - from an exception that user code raised to the RayTaskError that is stored as its result.
#
# Invariants  E1 make_task_error never fails, whatever the exception's own code does (KeyboardInterrupt passes: it may
#                be the user's or a cancellation).
#             E2 what it returns pickles, and unpickled here; its cause was read from the very bytes that travel.
#             E3 the text is bounded in length and in the number of chained exceptions, so is the work to make it.
#             E4 frames of miniray that only lead to the user's function are left out; inside the user's they stay.
"""Make the error of a failed task from the exception that its function raised."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING

from miniray._task_error import (
    RayTaskError,
    UnserializableException,
    dump_cause,
    safe_text,
)

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["make_task_error"]

MAX_CHAINED = 100
"""Exceptions linked by ``raise ... from``, ``__context__`` and groups that the text shows in full."""

MAX_TEXT_CHARACTERS = 200_000
"""The text of one error; the middle of a longer one is left out."""

_PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_CAUSED_BY = "\nThe above exception was the direct cause of the following exception:\n\n"
_DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"


def make_task_error(
    function_name: str,
    exc: BaseException,
    pid: int | None = None,
    *,
    actor_repr: str | None = None,
    actor_id: str | None = None,
) -> RayTaskError:
    """Return the error to store as the result of a task that raised.

    The cause of a failure in a nested task is the first exception; each hop adds its part to the text.

    Args:
        function_name: Name of the task.
        exc: What it raised, with its traceback.
        pid: The process that ran it, this one by default.
        actor_repr: ``repr`` of the actor whose method it was.
        actor_id: Id of that actor in hex.

    Returns:
        A plain error that is safe to pickle; the reader calls ``as_instanceof_cause`` on it.
    """
    text = _capture_text(exc)
    cause = exc
    for _ in range(MAX_CHAINED):
        inner = cause.cause if isinstance(cause, RayTaskError) else cause
        if inner is cause or not isinstance(inner, BaseException):
            break
        cause = inner
    payload = dump_cause(cause, text)
    try:
        arrived = pickle.loads(payload)
        if not isinstance(arrived, BaseException):
            raise TypeError(f"the exception came back as {type(arrived).__name__}")
    except KeyboardInterrupt:
        raise
    except BaseException:
        arrived = UnserializableException(text)
        payload = pickle.dumps(arrived)
    error = RayTaskError(function_name, text, arrived, None, pid, None, actor_repr, actor_id)
    error.__dict__["_cause_payload"] = payload  # what was tried is what travels
    return error


def _capture_text(exc: BaseException) -> str:
    """Return the traceback as text; a short one if even that fails."""
    try:
        import traceback  # which takes long; workers have it with cloudpickle

        frames = _user_frames(exc)
        if _count_linked(exc) <= MAX_CHAINED:
            text = "".join(traceback.TracebackException(type(exc), exc, frames, compact=True).format())
        else:
            text = _long_chain_text(exc, frames)
    except KeyboardInterrupt:
        raise
    except BaseException as problem:
        text = (
            f"Traceback (most recent call last):\n  (it could not be formatted: {type(problem).__name__})\n"
            f"{type(exc).__qualname__}: {safe_text(exc)}"
        )
    if len(text) > MAX_TEXT_CHARACTERS:
        half = MAX_TEXT_CHARACTERS // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
    return text


def _user_frames(exc: BaseException) -> TracebackType | None:
    """Return the traceback from the first frame outside of miniray; the whole one if there is none."""
    frames = exc.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_PACKAGE_FOLDER):
        frames = frames.tb_next
    return exc.__traceback__ if frames is None else frames


def _linked(exc: BaseException) -> list[BaseException]:
    """Return the exceptions that a traceback of this one shows with it."""
    near = [exc.__cause__, None if exc.__suppress_context__ else exc.__context__]
    members = getattr(exc, "exceptions", ())
    links = (*near, *members) if isinstance(members, tuple) else near
    return [link for link in links if isinstance(link, BaseException)]


def _count_linked(exc: BaseException) -> int:
    """Return how many exceptions hang together; stops counting above the limit. A cycle counts once."""
    seen: set[int] = set()
    waiting = [exc]
    while waiting and len(seen) <= MAX_CHAINED:
        current = waiting.pop()
        if id(current) not in seen:
            seen.add(id(current))
            waiting.extend(_linked(current))
    return len(seen)


def _long_chain_text(exc: BaseException, frames: TracebackType | None) -> str:
    """Return the text of an over-long chain: the nearest links, oldest first, members of groups left out."""
    import traceback

    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen and len(seen) < MAX_CHAINED:
        seen.add(id(current))
        stack = traceback.extract_tb(frames if current is exc else current.__traceback__)
        header = "Traceback (most recent call last):\n" if stack else ""
        # Not traceback.format_exception_only: it walks the rest of the chain each time.
        parts.append(f"{header}{''.join(stack.format())}{type(current).__qualname__}: {safe_text(current)}\n")
        following = current.__cause__
        link = _CAUSED_BY
        if following is None and not current.__suppress_context__:
            following, link = current.__context__, _DURING
        if following is not None:
            parts.append(link)
        current = following
    if current is not None:
        parts.append("(earlier exceptions left out)\n")
    return "".join(reversed(parts))
