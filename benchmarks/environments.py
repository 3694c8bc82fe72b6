"""The interpreter and environment variables of each contender, set up on first use.

RabiBridge and aio_pika run in the interpreter that runs the benchmark. The other libraries, and matplotlib, are in
``.venv-peers``; RabiBridge 0.1.2, which has the same import name as RabiBridge, is in ``.venv-peer``; patio-rabbitmq,
which needs an older aio-pika, is in ``.venv-patio``; the libraries for synchronous callers are in ``.venv-sync``, those
over Redis in ``.venv-redis``, except arq, which needs an older redis-py and is in ``.venv-arq``. ``.venv-alone`` has
nothing but RabiBridge, without its extras.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.roster import ENTRIES, Home
from tools.apt import apt_install
from tools.peers import PEER_FOLDER, PeerError, peer_home, peer_python
from tools.venv import VenvError, venv_python

ROOT = Path(__file__).parents[1]
_BENCHMARKS = Path(__file__).parent
_ALONE = ("rabibridge-core", "rabibridge-rabbitmq")
_BUILDERS = ("hatchling", "editables")
_C_PACKAGES = ("gcc", "libc6-dev", "librabbitmq-dev")


class UnavailableError(RuntimeError):
    """A contender cannot be installed on this machine; the message says what would help."""


@dataclass(frozen=True)
class Interpreter:
    """A Python interpreter, with the environment variables that it needs."""

    python: str
    variables: dict[str, str]


def interpreter_of(contender: str) -> Interpreter:
    """Return the Python of a contender.

    Raises:
        UnavailableError: its environment could not be created.
    """
    return interpreter(ENTRIES[contender].home)


def installed_version(home: Home, distribution: str) -> str:
    """Return the version of a distribution in an environment.

    Raises:
        UnavailableError: the environment could not be created.
    """
    if home == "main":
        return importlib.metadata.version(distribution)
    python = interpreter(home)
    script = f"import importlib.metadata; print(importlib.metadata.version({distribution!r}))"
    done = subprocess.run(
        [python.python, "-c", script], capture_output=True, text=True, check=True, env=python.variables
    )
    return done.stdout.strip()


def interpreter(home: Home) -> Interpreter:
    """Return the Python of an environment, which is created on first use and kept.

    Raises:
        UnavailableError: it could not be created.
    """
    if home == "main":
        return Interpreter(sys.executable, dict(os.environ))
    if home == "c":
        raise ValueError("the C client needs no Python")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RABI"))}
    try:
        if home == "peer":
            python = peer_python()
            return Interpreter(str(python), variables | {"PYTHONPATH": str(peer_home(PEER_FOLDER, python, "msgpack"))})
        if home == "alone":
            editable = (option for name in _ALONE for option in ("-e", str(ROOT / "packages" / name)))
            uvloop = f"uvloop=={installed_version('main', 'uvloop')}"
            python = venv_python(ROOT / ".venv-alone", (*editable, uvloop), builders=_BUILDERS)
            return Interpreter(str(python), variables)
        python = venv_python(ROOT / f".venv-{home}", requirements(_BENCHMARKS / f"requirements-{home}.txt"))
    except (PeerError, VenvError) as error:
        raise UnavailableError(f".venv-{home} could not be created, which needs a package registry: {error}") from error
    return Interpreter(str(python), variables)


def requirements(file: Path) -> tuple[str, ...]:
    """Return the requirements that a file lists, one per line, without comments."""
    return tuple(line for line in file.read_text().splitlines() if line and not line.startswith("#"))


def compiled(name: Literal["rpc", "stream"]) -> Path:
    """Return a program in C on librabbitmq; compile it first if its source is newer.

    Raises:
        UnavailableError: the compiler or librabbitmq is missing.
    """
    source, program = _BENCHMARKS / f"librabbitmq/{name}.c", ROOT / f".librabbitmq/{name}"
    newest = max(one.stat().st_mtime for one in (source, source.with_name("connection.h")))
    if program.exists() and program.stat().st_mtime >= newest:
        return program
    program.parent.mkdir(exist_ok=True)
    command = ["cc", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O2", "-o", str(program), str(source), "-lrabbitmq"]
    error = _compile(command)
    if error is not None and apt_install(*_C_PACKAGES):
        error = _compile(command)
    if error is not None:
        raise UnavailableError(f"it did not compile; on Debian, install {' and '.join(_C_PACKAGES)}: {error}")
    return program


def _compile(command: list[str]) -> str | None:
    """Return the error message, or None."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr.strip().partition("\n")[0] if done.returncode else None


def nats_server() -> str:
    """Return the path of nats-server.

    Raises:
        UnavailableError: it is not installed and could not be installed.
    """
    found = shutil.which("nats-server")
    if found is None and apt_install("nats-server"):
        found = shutil.which("nats-server")
    if found is None:
        raise UnavailableError("nats-server is missing; on Debian, install the package nats-server")
    return found


def ready(contender: str) -> None:
    """Set up everything that a contender needs, so that starting it later is not delayed.

    Raises:
        UnavailableError: it cannot be set up on this machine.
    """
    entry = ENTRIES[contender]
    if entry.through == "NATS":
        nats_server()
    if entry.home == "c":
        compiled("rpc")
    else:
        interpreter(entry.home)
