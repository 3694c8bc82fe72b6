"""Where each contender runs: an interpreter and its variables, made ready on first use.

RabiBridge and aio_pika run in the interpreter that runs the benchmark. The other libraries, and matplotlib, are in
``.venv-peers``; RabiBridge 0.1.2, which has our import name, is in ``.venv-peer``; patio-rabbitmq, which needs an older
aio-pika, is in ``.venv-patio``.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.roster import ENTRIES, Home
from tools.peers import PEER_FOLDER, PeerError, peer_home, peer_python
from tools.venv import VenvError, venv_python

ROOT = Path(__file__).parents[1]
_BENCHMARKS = Path(__file__).parent


class UnavailableError(RuntimeError):
    """A contender cannot be had on this machine; the text says what would help."""


@dataclass(frozen=True)
class Interpreter:
    """A Python to run, with the environment variables that it needs."""

    python: str
    variables: dict[str, str]


def interpreter_of(contender: str) -> Interpreter:
    """Return the Python that a contender runs in.

    Raises:
        UnavailableError: its environment could not be made.
    """
    return interpreter(ENTRIES[contender].home)


def interpreter(home: Home) -> Interpreter:
    """Return the Python of an environment, which is made on first use and kept.

    Raises:
        UnavailableError: it could not be made.
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
        python = venv_python(ROOT / f".venv-{home}", requirements(_BENCHMARKS / f"requirements-{home}.txt"))
    except (PeerError, VenvError) as error:
        raise UnavailableError(f".venv-{home} could not be made, it needs a package registry: {error}") from error
    return Interpreter(str(python), variables)


def requirements(file: Path) -> tuple[str, ...]:
    """Return the requirements that a file lists, one a line, without its comments."""
    return tuple(line for line in file.read_text().splitlines() if line and not line.startswith("#"))


def compiled_client() -> Path:
    """Return the C client, compiled from its source when that is newer.

    Raises:
        UnavailableError: there is no compiler, or no librabbitmq.
    """
    raise UnavailableError("not written yet")
