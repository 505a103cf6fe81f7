# runtime_env.py - Ray's module: ``from miniray.runtime_env import RuntimeEnv``.
"""What tasks and actors find around them: environment variables, a working folder, modules."""

from __future__ import annotations

from miniray._api.runtime_env import RuntimeEnv, RuntimeEnvConfig

__all__ = ["RuntimeEnv", "RuntimeEnvConfig"]
