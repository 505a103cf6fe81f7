# _api/absent_modules.py - what `import miniray.tune` says: that real Ray has it.
#
# Invariants  A1 only names below miniray that no other finder knows are looked at; the finder stands last.
#             A2 the error is a ModuleNotFoundError, so that `except ImportError` works as ever.
"""Clear errors for modules that Ray has and miniray has not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from miniray._api.unsupported import UNSUPPORTED_SUBMODULES
from miniray.exceptions import UnsupportedFeatureError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["install"]


class _Finder:
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        feature = UNSUPPORTED_SUBMODULES.get(name) if package == "miniray" else None
        if feature is not None:
            raise ModuleNotFoundError(str(UnsupportedFeatureError(f"{fullname} ({feature})")), name=fullname)
        return None


def install() -> None:
    """Have such imports answered; once is enough."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
