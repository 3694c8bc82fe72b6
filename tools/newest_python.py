"""Print the path of the newest Python of this machine, 3.11 or later, that runs and can make virtual environments.

Looked for: ``python3`` and ``python3.N`` on PATH, and the versions that pyenv has installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

_PROBE = "import ensurepip, ssl, sys, venv; print(*sys.version_info[:3]); print(sys.version_info.releaselevel)"
_PROBE_TIMEOUT = 30.0
_OLDEST = (3, 11)


def _candidates() -> list[str]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    folders += sorted(pyenv.glob("versions/*/bin"))
    return [
        str(path)
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if re.fullmatch(r"python3(\.\d+)?", path.name)
    ]


def _version(python: str) -> tuple[int, ...] | None:
    # A shim of pyenv is on PATH for every version it has, and runs only those that are switched on.
    try:
        done = subprocess.run(
            [python, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_TIMEOUT, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    numbers, level = done.stdout.splitlines()
    version = tuple(int(number) for number in numbers.split())
    return version if level == "final" and version >= _OLDEST else None


def main() -> int:
    found = [(version, python) for python in _candidates() if (version := _version(python)) is not None]
    if not found:
        print("No Python 3.11 or later was found on PATH or under pyenv.", file=sys.stderr)
        return 1
    print(max(found)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
