"""Print the path of the newest Python that this machine has or can have: ``python -m tools.newest_python [VERSION]``.

The first of these that exists:

1. the newest installed Python, if it is at least VERSION (3.14 by default): ``python3`` and ``python3.N`` on PATH, and
   the versions of pyenv; it must be able to make virtual environments;
2. as root on Linux, a Python of Debian sid in a folder of its own (``.debian``, 350 MB): Debian's default, or the
   VERSION that was given;
3. the newest installed Python, 3.11 or later.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tools.debian import DEBIAN_FOLDER, NEWEST_SUITE, ImpossibleError, debian_root

_PROBE = "import ensurepip, ssl, sys, venv; print(*sys.version_info[:3]); print(sys.version_info.releaselevel)"
_PROBE_TIMEOUT = 30.0
_OLDEST = (3, 11)
_WANTED = (3, 14)


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


def installed_pythons() -> dict[str, str]:
    """Return the programs of the installed Pythons, 3.11 or later: of each minor version, such as ``3.12``, the newest.

    A Python of Debian sid counts once it was made for ``make test-latest``.
    """
    candidates = [*_candidates(), *map(str, DEBIAN_FOLDER.glob(f"{NEWEST_SUITE}-python3*/usr/local/bin/python3.*"))]
    found = sorted((number, path) for path in candidates if (number := _version(path)) is not None)
    return {f"{major}.{minor}": path for (major, minor, *_), path in found}


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


def debian_python(version: str | None) -> Path:
    """Return a program that runs a Python of Debian sid on that Debian's own libraries; it is made if need be.

    Args:
        version: which one, such as ``3.14``; None: Debian's default.

    Raises:
        ImpossibleError: this machine cannot have it.
    """
    root = debian_root(NEWEST_SUITE, f"python{version or 3}-venv")
    python = (root / "usr/bin" / f"python{version or 3}").resolve()
    (loader,) = root.glob("usr/lib/*-linux-gnu*/ld-linux*.so.*")
    # Here, so that Python finds its standard library above the program. It takes the name of a virtual environment's
    # program from argv[0], as usual.
    program = root / "usr/local/bin" / python.name
    script = f'#!/bin/sh\nexec {loader} --argv0 "$0" --library-path {loader.parent} {python} "$@"\n'
    if not program.exists() or program.read_text() != script:
        program.write_text(script)
        program.chmod(0o755)
        _set_wheel_folder(root)
    return program


def _set_wheel_folder(root: Path) -> None:
    """Let ``python -m venv`` take pip from Debian's folder of wheels in there, not from that of this machine."""
    for file in root.glob("usr/lib/python3.*/_sysconfigdata_*.py"):
        file.write_text(
            re.sub(r"'[^']*/usr/share/python-wheels/'", f"'{root}/usr/share/python-wheels/'", file.read_text())
        )


def main() -> int:
    version = sys.argv[1] if len(sys.argv) > 1 else None
    wanted = tuple(map(int, version.split("."))) if version else _WANTED
    found = [(number, path) for path in _candidates() if (number := _version(path)) is not None]
    newest, python = max(found, default=((), None))
    if newest < wanted:
        try:
            python = str(debian_python(version))
        except ImpossibleError as error:
            print(f"No Python {'.'.join(map(str, wanted))}: {error}", file=sys.stderr)
    if python is None:
        print("No Python 3.11 or later was found on PATH or under pyenv.", file=sys.stderr)
        return 1
    print(python)
    return 0


if __name__ == "__main__":
    sys.exit(main())
