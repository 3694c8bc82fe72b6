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


class VenvError(RuntimeError):
    """A virtual environment could not be made, as without a package registry."""


def venv_python(folder: Path, requirements: tuple[str, ...], base: str = sys.executable) -> Path:
    """Return the interpreter of the virtual environment ``folder``, in which ``requirements`` are installed.

    Several processes may ask at once; the first makes it.

    Args:
        folder: where it is.
        requirements: arguments of ``pip install``.
        base: the Python to make it of.

    Raises:
        VenvError: it could not be made.
    """
    python, stamp, wanted = folder / "bin/python", folder / ".installed", "\n".join(requirements)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (python.exists() and stamp.exists() and stamp.read_text() == wanted):
            _run(base, "-m", "venv", str(folder))
            pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
            _run(*pip, "--retries", "1", "--timeout", "15", *requirements)
            stamp.write_text(wanted)
    return python


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VenvError(str(error)) from error
    if done.returncode:
        raise VenvError(done.stderr.strip()[-_LOG_TAIL:])
