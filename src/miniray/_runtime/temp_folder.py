# _runtime/temp_folder.py - where temporary files go.
#
# Invariants  T1 the answer is that of tempfile.gettempdir(), which decides wherever it is imported already, or no
#                usual folder will do: it takes long to import (with random and shutil), and every start asks.
"""The folder for temporary files."""

from __future__ import annotations

import os
import sys

__all__ = ["temp_folder"]


def temp_folder() -> str:
    """Return the folder for temporary files.

    Raises:
        FileNotFoundError: There is none that this user may write to.
    """
    if "tempfile" not in sys.modules:
        for folder in (*map(os.environ.get, ("TMPDIR", "TEMP", "TMP")), "/tmp"):
            if folder and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
                return os.path.abspath(folder)
    import tempfile

    return tempfile.gettempdir()
