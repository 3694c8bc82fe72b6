"""Virtual environments that are made on first use and kept, each for packages that must not be in the main one."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_INSTALL_TIMEOUT = 600.0
_LOG_TAIL = 2000
# Modules are compiled when they are first imported, as few of them are.
_OPTIONS = ("--quiet", "--no-compile", "--retries", "1", "--timeout", "15")


class VenvError(RuntimeError):
    """A virtual environment could not be made, as without a package registry."""


def venv_python(
    folder: Path, requirements: tuple[str, ...], base: str = sys.executable, *, builders: tuple[str, ...] = ()
) -> Path:
    """Return the interpreter of the virtual environment ``folder``, in which ``requirements`` are installed.

    Several processes may ask at once; the first makes it.

    Args:
        folder: where it is.
        requirements: arguments of ``pip install``.
        base: the Python to make it of.
        builders: what packages among ``requirements`` are built with: installed once, instead of once for each of them.

    Raises:
        VenvError: it could not be made.
    """
    python, stamp, wanted = folder / "bin/python", folder / ".installed", "\n".join((*builders, *requirements))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (python.exists() and stamp.exists() and stamp.read_text() == wanted):
            install = (*_pip(base, folder, python), "install", *_OPTIONS)
            if builders:
                _run(*install, *builders)
                install = (*install, "--no-build-isolation")
            _run(*install, *requirements)
            stamp.write_text(wanted)
    return python


def _pip(base: str, folder: Path, python: Path) -> tuple[str, ...]:
    """Make the virtual environment, and return the command of the pip that installs there.

    It is the pip of the other Python, where that has one: to unpack another takes longer than most packages.
    """
    options = ("--disable-pip-version-check", "--no-input")
    try:
        _run(base, "-m", "pip", "--version")
    except VenvError:
        _run(base, "-m", "venv", str(folder))
        return (str(python), "-m", "pip", *options)
    _run(base, "-m", "venv", "--without-pip", str(folder))
    return (base, "-m", "pip", "--python", str(python), *options)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VenvError(str(error)) from error
    if done.returncode:
        raise VenvError(done.stderr.strip()[-_LOG_TAIL:])
