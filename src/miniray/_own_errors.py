# _own_errors.py - the errors that miniray has and Ray has not.
#
# Invariants  O1 a leaf beside exceptions.py, which is where users see these classes (__module__ says so).
#             O2 each may be raised with a ready text (the C++ core does) or with facts that make one.
"""Errors of miniray alone: shared memory, forked processes, features of later releases."""

from __future__ import annotations

from miniray._task_error import RayError

__all__ = ["ForkedProcessError", "SegmentCorruptedError", "UnsupportedFeatureError", "VersionMismatchError"]


class SegmentCorruptedError(RayError):
    """A shared memory segment holds data that cannot be right; the session cannot go on.

    Every call and every wait of all processes of the session raises it from then on; ``shutdown`` works, and a new
    session can be started.

    Args:
        args: A text to show in place of the one made from the facts.
        segment_name: Name of the segment.
        problem: What is wrong with it.
    """

    def __init__(self, *args: object, segment_name: str | None = None, problem: str | None = None) -> None:
        """Keep the facts; see the class."""
        super().__init__(*args)
        self.segment_name = segment_name
        self.problem = problem

    def _text(self) -> str:
        if self.args:
            return super()._text()
        return (
            f"The shared memory segment {self.segment_name or ''} is damaged: {self.problem or 'a check failed'}. "
            "All of the session's objects and calls are lost. Call miniray.shutdown() and miniray.init() to go on with "
            "a new one. Likely causes: native code that wrote outside its own memory, or a bug in miniray: please "
            "report it if no native code of yours ran."
        )


class VersionMismatchError(RayError):
    """A segment was made by a miniray whose memory layout differs from this one's.

    Args:
        args: A text to show in place of the one made from the facts.
        segment_name: Name of the segment.
        found_version: Layout version of the segment.
        expected_version: Layout version of this process.
    """

    def __init__(
        self,
        *args: object,
        segment_name: str | None = None,
        found_version: int | str | None = None,
        expected_version: int | str | None = None,
    ) -> None:
        """Keep the facts; see the class."""
        super().__init__(*args)
        self.segment_name = segment_name
        self.found_version = found_version
        self.expected_version = expected_version

    def _text(self) -> str:
        if self.args:
            return super()._text()
        return (
            f"The shared memory segment {self.segment_name or ''} has layout version {self.found_version}, "
            f"this process expects {self.expected_version}. Likely cause: the processes of this session use different "
            "releases of miniray. Use one environment for all of them."
        )


class ForkedProcessError(RayError):
    """A process that ``os.fork`` made used the session of its parent.

    Args:
        args: A text to show in place of the one made from the facts.
        operation: What was called.
        parent_pid: The process that the session belongs to.
        pid: The forked process.
    """

    def __init__(
        self,
        *args: object,
        operation: str | None = None,
        parent_pid: int | None = None,
        pid: int | None = None,
    ) -> None:
        """Keep the facts; see the class."""
        super().__init__(*args)
        self.operation = operation
        self.parent_pid = parent_pid
        self.pid = pid

    def _text(self) -> str:
        if self.args:
            return super()._text()
        return (
            f"{self.operation or 'miniray'} was called in process {self.pid}, a fork of process {self.parent_pid}, "
            "which the session belongs to. A forked process cannot share it. Start the process with multiprocessing's "
            "'spawn' method, or call miniray.shutdown() and miniray.init() in it."
        )


class UnsupportedFeatureError(RayError, NotImplementedError):
    """A feature of Ray that this release of miniray does not offer yet.

    Args:
        feature: What was asked for.
    """

    def __init__(self, feature: str) -> None:
        """Keep the name of the feature."""
        super().__init__(feature)
        self.feature = feature

    def _text(self) -> str:
        return (
            f"{self.feature}: this release of miniray does not offer it yet. It runs on real Ray: pip install ray, and "
            "import ray in place of miniray."
        )


for _public in (ForkedProcessError, SegmentCorruptedError, UnsupportedFeatureError, VersionMismatchError):
    _public.__module__ = "miniray.exceptions"
