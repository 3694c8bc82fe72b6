"""Checks what ``make build`` has made, as PyPI and an empty environment see it: ``python -m tools.built dist``.

The long descriptions must render on PyPI, all files must have one version, and each wheel must work in an environment
of its own, with nothing but its declared dependencies.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

IMPORTED_AS = {
    "rabibridge-core": "rabibridge_core.rpc",
    "rabibridge-rabbitmq": "rabibridge, rabibridge.cli, rabibridge.sync",
    "rabibridge-redis": "rabibridge_redis",
    "rabibridge-telemetry": "rabibridge_telemetry",
    "rabibridge-testing": "rabibridge_testing, rabibridge_testing.plugin",
}
"""What each distribution must be able to import when it is installed alone."""
_TIMEOUT = 600.0


def wheels_of(folder: Path) -> dict[str, Path]:
    """Return the wheels in a folder by the name of their distribution.

    Raises:
        ValueError: a distribution has no wheel or no source distribution there, or they differ in their versions.
    """
    wheels = {parse_wheel_filename(file.name)[0]: file for file in folder.glob("*.whl")}
    sources = {parse_sdist_filename(file.name)[0] for file in folder.glob("*.tar.gz")}
    if missing := {canonicalize_name(name) for name in IMPORTED_AS} - (wheels.keys() & sources):
        raise ValueError(f"{folder} lacks a wheel or a source distribution of {', '.join(sorted(missing))}")
    versions = {parse_wheel_filename(file.name)[1] for file in folder.glob("*.whl")}
    versions |= {parse_sdist_filename(file.name)[1] for file in folder.glob("*.tar.gz")}
    if len(versions) > 1:
        raise ValueError(f"{folder} has several versions: {', '.join(map(str, sorted(versions)))}")
    return {str(name): file for name, file in wheels.items()}


def render(folder: Path) -> str:
    """Return what ``twine check --strict`` finds wrong with the files in a folder; empty: nothing."""
    files = sorted(str(file) for pattern in ("*.whl", "*.tar.gz") for file in folder.glob(pattern))
    done = subprocess.run(
        [sys.executable, "-m", "twine", "--no-color", "check", "--strict", *files],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def install_alone(name: str, folder: Path) -> str:
    """Install a distribution into an empty environment and import it; return what failed, empty if nothing did."""
    with TemporaryDirectory() as place:
        venv.create(place, with_pip=True)
        python = str(Path(place) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
        wheel = str(wheels_of(folder)[name])
        pip = (python, "-m", "pip", "install", "--quiet", "--pre", "--find-links", str(folder), wheel)
        for command in (pip, (python, "-I", "-W", "error", "-c", f"import {IMPORTED_AS[name]}")):
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, cwd=place)
            if done.returncode:
                return f"{name}: {done.stderr.strip()}"
    return ""


def main() -> int:
    folder = Path(sys.argv[1]).resolve()
    try:
        names = list(wheels_of(folder))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    problems = [render(folder), *(install_alone(name, folder) for name in names)]
    for problem in filter(None, problems):
        print(problem, file=sys.stderr)
    if not any(problems):
        print(f"{len(names)} distributions render on PyPI and work alone.")
    return 1 if any(problems) else 0


if __name__ == "__main__":
    sys.exit(main())
