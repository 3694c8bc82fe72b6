"""The version before this one, from the history of the repository, in a virtual environment of its own."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from tools.venv import VenvError, venv_python

PREVIOUS = "bcf56ea"
"""The commit whose clients and servers must work with ours, in both directions."""

_ROOT = Path(__file__).parents[1]
_MEMBERS = ("rabibridge-core", "rabibridge-rabbitmq", "rabibridge-testing")


class PreviousError(RuntimeError):
    """The previous version cannot be had, for example in a shallow clone."""


def previous_python() -> Path:
    """Return the interpreter of an environment with the previous version, which is made on first use and kept.

    Raises:
        PreviousError: the commit is not in this clone, or the packages could not be installed.
    """
    folder = _ROOT / f".venv-{PREVIOUS}"
    sources = folder / "sources"
    if not sources.exists():
        git = ["git", "archive", "--format=tar", PREVIOUS, "packages"]
        try:
            done = subprocess.run(git, cwd=_ROOT, capture_output=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PreviousError(f"git archive cannot be run: {error}") from error
        if done.returncode:
            raise PreviousError(f"the commit {PREVIOUS} is not here: {done.stderr.decode(errors='replace').strip()}")
        unfinished = folder / "unfinished"
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(unfinished, filter="data")
        unfinished.rename(sources)
    try:
        packages = tuple(str(sources / "packages" / member) for member in _MEMBERS)
        return venv_python(folder, packages, builders=("hatchling",))
    except VenvError as error:
        raise PreviousError(f"the packages of {PREVIOUS} could not be installed: {error}") from error
