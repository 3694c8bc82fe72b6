"""The Chromium that tests of pages use."""

from __future__ import annotations

import os

import pytest

from tools.chromium import VARIABLE, find_chromium

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def chromium_program() -> str:
    """Return its path; skip the test where there is none, and fail it in continuous integration."""
    found = find_chromium()
    if found is None:
        reason = f"no Chromium: install it, or set {VARIABLE}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found
