# _api/logging_config.py - LoggingConfig, Ray's word for how driver and workers log.
"""``init(logging_config=LoggingConfig(...))``."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from miniray._runtime.structured_log import ENCODINGS, STANDARD_ATTRIBUTES

__all__ = ["LoggingConfig", "resolve_logging_config"]


@dataclass
class LoggingConfig:
    """How the root loggers of driver and workers log: with the ids of job, worker, actor and task.

    Attributes:
        encoding: ``"TEXT"`` or ``"JSON"``.
        log_level: The lowest level to log.
        additional_log_standard_attrs: Attributes of the logging module's records to add, such as ``"name"``.
    """

    encoding: str = "TEXT"
    log_level: str = "INFO"
    additional_log_standard_attrs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: An encoding or attribute that does not exist.
        """
        if self.encoding not in ENCODINGS:
            raise ValueError(f"Invalid encoding type: {self.encoding}. Valid encoding types are: {list(ENCODINGS)}")
        for name in self.additional_log_standard_attrs:
            if name not in STANDARD_ATTRIBUTES:
                raise ValueError(
                    f"Unknown python logging standard attribute: {name}. The valid attributes are: "
                    f"{set(STANDARD_ATTRIBUTES)}"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return the values as a plain dict."""
        return asdict(self)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> LoggingConfig:
        """Return a LoggingConfig of a dict; keys that are not known are ignored.

        Args:
            d: Values by name.
        """
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in d.items() if name in known})


def resolve_logging_config(given: object) -> LoggingConfig | None:
    """Return the configuration for a session, or None when nobody asks for one.

    Args:
        given: Argument of ``init``; without it the environment variable RAY_LOGGING_CONFIG_ENCODING says the encoding.

    Raises:
        TypeError: Not a LoggingConfig.
    """
    if given is None:
        encoding = os.environ.get("RAY_LOGGING_CONFIG_ENCODING")
        return LoggingConfig(encoding=encoding) if encoding else None
    if not isinstance(given, LoggingConfig):
        raise TypeError(f"logging_config must be a LoggingConfig or None, not {type(given).__name__}")
    return given
