"""Starts Python programs without their imports, which take most of the time of a short one.

A process that has imported the packages (:mod:`tests.support.prepared_python`) forks a process for each program. It is
a real one: a child of the tests, with its own standard streams, folder, environment, session, signals and exit code.
What it lacks is the start of an interpreter. So a test that looks at how something starts, at what is imported, at a
command line, a terminal or an installed script starts a new interpreter by :mod:`subprocess`. Where the system cannot
give the process to the tests, as only Linux can, a new interpreter starts, too.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["ForkServer", "run", "server_of_commands", "server_of_pytest", "server_of_scripts", "start"]

_PR_SET_CHILD_SUBREAPER = 36
_forking = threading.Lock()
"""Held where a server is made or forks.

Each adopts orphans for a moment, on behalf of this whole process. If one ended that for another, the child of that one
would not be ours: it would count as ended while it runs, and no signal would reach it.
"""
_AT_START = ("PYTHON", "LC_", "LANG", "LD_")
"""Variables that an interpreter looks at when it starts begin with these."""
_PACKAGES = (
    "rabibridge.mq",
    "rabibridge.sync",
    "rabibridge_core._api.client",
    "rabibridge_core._api.server",
    "rabibridge_core.errors",
    "rabibridge_core.rpc",
    "rabibridge_core._protocol.broadcasts",
    "rabibridge.plugin",
    "rabibridge_redis.plugin",
    "rabibridge_telemetry.plugin",
    "pydantic.main",
    "pydantic.plugin._loader",
    "pydantic.type_adapter",
    "pydantic.types",
    "encodings.idna",
    "uvloop",
    "zstandard",
    "cloudpickle",
)
_PYTEST = tuple(f"_pytest.{name}" for name in (
    "assertion.rewrite", "capture", "debugging", "doctest", "faulthandler", "fixtures", "junitxml", "legacypath",
    "logging", "monkeypatch", "pastebin", "pathlib", "python", "raises", "recwarn", "reports", "runner", "setuponly",
    "skipping", "stepwise", "terminal", "threadexception", "tmpdir", "unittest", "unraisableexception", "warnings",
))  # fmt: skip
_COMMANDS = ("rabibridge.cli.app", *(f"rabibridge.cli.commands.{name}" for name in (
    "bench", "call", "config", "dead", "doctor", "health", "new", "notify", "permissions", "ping", "queue", "run",
    "schema", "secret", "services", "stubs", "top", "version", "workers",
)), "rabibridge.cli.operations", "rabibridge._operations.configuration_checks", "rabibridge_core.settings.overview",
    "rabibridge_testing", "rich.console", "rich.table", "typer._adapters", "typer._click.decorators")  # fmt: skip


class ForkServer:
    """A process that has imported modules, and forks others.

    Args:
        modules: what it imports.
        options: those of the interpreter, such as ``-W error``. Programs have the same.
    """

    def __init__(self, modules: Sequence[str], options: Sequence[str] = ()) -> None:
        self.options = tuple(options)
        self._environment = _at_start(os.environ)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = str(Path(__file__).with_name("prepared_python.py"))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *options, program, str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                env={name: value for name, value in os.environ.items() if not name.startswith("RABIBRIDGE_")},
            )  # fmt: skip
        atexit.register(self.close)

    def suits(self, environment: Mapping[str, str] | None) -> bool:
        """Tell whether an interpreter would start alike in this environment."""
        return environment is None or _at_start(environment) == self._environment

    def fork(self, request: dict[str, Any], files: Sequence[int]) -> int:
        """Let a process run what the request says with these standard streams; return its process id."""
        with _forking:
            _adopt_orphans(True)
            try:
                socket.send_fds(self._control, [json.dumps(request).encode()], files)
                answer = self._control.recv(32)
            finally:
                _adopt_orphans(False)
        if not answer:
            raise ChildProcessError("the process that forks the programs of tests has ended")
        return int(answer)

    def close(self) -> None:
        """End the process; what it has forked goes on."""
        self._control.close()
        self._process.wait()


class _Forked(subprocess.Popen[Any]):
    """A process that a server forks in the place of a new interpreter; the rest is :class:`subprocess.Popen`."""

    def __init__(self, server: ForkServer, arguments: Sequence[str], *, new_session: bool, **options: Any) -> None:
        self._server = server
        self._new_session = new_session
        super().__init__([sys.executable, *server.options, *arguments], **options)

    def _execute_child(  # what Popen calls to start the process
        self, args: list[str], _executable: Any, _preexec: Any, _close: Any, _pass: Any, cwd: Any, env: Any, _info: Any,
        _flags: Any, _shell: Any, p2cread: int, p2cwrite: int, c2pread: int, c2pwrite: int, errread: int, errwrite: int,
        *_rest: Any,
    ) -> None:  # fmt: skip
        options = self._server.options
        request = {
            "arguments": args[1 + len(options) :],
            "options": options,
            "cwd": str(cwd or os.getcwd()),
            "environment": dict(os.environ if env is None else env),
            "session": self._new_session,
        }
        given = (p2cread, c2pwrite, errwrite)
        try:
            files = [number if file == -1 else file for number, file in enumerate(given)]
            self.pid = self._server.fork(request, files)
            self._child_created = True
        finally:
            self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_AT_START)}


def _adopt_orphans(wanted: bool) -> None:
    """Let processes whose parent ends become children of this one, or no more."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def start(server: Callable[[], ForkServer], arguments: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start Python with these arguments, as :class:`subprocess.Popen` does with these options.

    The server forks it, unless an interpreter would start in another way here: then a new one starts.

    Args:
        server: such as :func:`server_of_commands`.
        arguments: ``-m MODULE``, ``-c CODE`` or a file, and what comes behind it.
        options: ``stdin``, ``stdout``, ``stderr``, ``cwd``, ``env``, ``start_new_session``, and those for text.
    """
    with _forking:
        prepared = server()
    if sys.platform != "linux" or not prepared.suits(options.get("env")):
        return subprocess.Popen([sys.executable, *prepared.options, *arguments], **options)
    return _Forked(prepared, arguments, new_session=options.pop("start_new_session", False), **options)


def run(
    server: Callable[[], ForkServer],
    arguments: Sequence[str],
    *,
    input: str | bytes | None = None,
    timeout: float | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run Python with these arguments to its end, with what it prints, as :func:`subprocess.run` does."""
    stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
    streams = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(server, arguments, **streams | options) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@cache
def server_of_commands() -> ForkServer:
    """Return what forks ``-m rabibridge``."""
    return ForkServer((*_PACKAGES, *_COMMANDS))


@cache
def server_of_scripts() -> ForkServer:
    """Return what forks programs that use the packages, for which warnings are errors."""
    return ForkServer((*_PACKAGES, "rabibridge_testing"), ("-W", "error"))


@cache
def server_of_pytest() -> ForkServer:
    """Return what forks ``-m pytest`` for tests that use the packages; its plug-ins are imported by pytest itself."""
    return ForkServer(("pytest", "unittest.mock", *_PYTEST, *_PACKAGES))
