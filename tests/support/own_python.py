"""The Python that runs the tests: that of this system, or of another Debian, as ``make test-latest`` may install it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools.debian import DEBIAN_FOLDER

__all__ = ["needs_own_python"]

needs_own_python = pytest.mark.skipif(
    DEBIAN_FOLDER.name in Path(sys.base_prefix).parts,
    reason="this Python is of another Debian, and is started by the loader of that one: copied or looked at it fails",
)
"""Skips a test that copies the program of Python, or has another program look for it."""
