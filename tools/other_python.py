"""The packages of this repository on other installed Pythons, each in a virtual environment of its own, for tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tools.newest_python import installed_pythons
from tools.venv import VenvError, venv_python

_ROOT = Path(__file__).parents[1]
_MEMBERS = ("rabibridge-core", "rabibridge-rabbitmq", "rabibridge-testing")


class OtherPythonError(RuntimeError):
    """The packages could not be installed on that Python."""


@cache
def other_python(version: str) -> Path | None:
    """Return the interpreter of an environment with the packages, editable, which is made on first use and kept.

    Args:
        version: a minor version, such as ``3.13``.

    Returns:
        The interpreter; ``None`` if that Python is not installed.

    Raises:
        OtherPythonError: the packages could not be installed, as without a package registry.
    """
    base = installed_pythons().get(version)
    if base is None:
        return None
    members = (argument for member in _MEMBERS for argument in ("-e", str(_ROOT / "packages" / member)))
    try:
        folder = _ROOT / f".venv-other-{version}"
        return venv_python(folder, (*members, "uvloop"), base, builders=("hatchling", "editables"))
    except VenvError as error:
        raise OtherPythonError(f"the packages could not be installed on Python {version}: {error}") from error
