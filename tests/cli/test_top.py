"""``rabibridge top`` in a terminal of its own, beside two workers."""

from __future__ import annotations

import signal
import sys
import termios
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.cli.conftest import SERVICES, Command
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rabibridge_testing._servers.base import Broker

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it needs a terminal of Unix")


@pytest.fixture
def start() -> Iterator[Callable[[Command], pexpect.spawn[str]]]:
    """Starts it in a new terminal of 80 columns and 24 lines."""
    children = []

    def begin(command: Command) -> pexpect.spawn[str]:
        program, *arguments = command.line("top", "--interval", "0.2")
        child = pexpect.spawn(
            program,
            arguments,
            cwd=str(command.folder),
            env={**command.environment(), "TERM": "xterm", "COLUMNS": "", "LINES": ""},
            dimensions=(24, 80),
            encoding="utf-8",
            timeout=PATIENCE,
        )
        children.append(child)
        return child

    yield begin
    for child in children:
        child.close(force=True)


def _ends(child: pexpect.spawn[str], status: int) -> None:
    """Check that it ends with this status, and leaves the terminal as it was: the screen, and how keys are read."""
    child.expect_exact("\x1b[?1049l")
    child.expect(pexpect.EOF)
    modes = termios.tcgetattr(child.child_fd)
    child.wait()
    assert (child.exitstatus, child.signalstatus) == (status, None)
    assert "Traceback" not in (child.before or "")
    kept = termios.ECHO | termios.ICANON
    assert isinstance(modes[3], int)
    assert modes[3] & kept == kept


def test_it_shows_sorts_filters_and_drills_into_services(
    rabbitmq: Broker, tmp_path: Path, start: Callable[[Command], pexpect.spawn[str]]
) -> None:
    command = Command(rabbitmq.fresh_vhost(), tmp_path)
    (tmp_path / "services.py").write_text(SERVICES)
    with command.serving("services.py"), command.serving("services.py"):
        assert command("call", "fail").returncode == 1
        child = start(command)
        child.expect_exact("\x1b[?1049h")
        child.expect_exact("2 workers, 10 services")
        child.expect_exact("calls/s▼")
        for heading in ("p50", "p99", "in hand", "waiting", "refused", "errors", "workers"):
            child.expect_exact(heading)
        child.send("sssss")
        child.expect_exact("errors▼")
        child.send("r")
        child.expect_exact("errors▲")
        child.send("/fai")
        child.expect_exact("filter: fai▏")
        child.send("\r\r")
        child.expect_exact("last errors")
        child.expect_exact(r"builtins.LookupError: nothing here \x1b[31m\nerror: forged"[:60])
        child.expect_exact("raise LookupError")
        child.send("\x1b")
        child.expect_exact("filter: fai")
        child.send("\x1b")
        child.expect_exact("narrow")
        child.setwinsize(12, 200)
        child.expect("service {100}", timeout=PATIENCE)  # the first column takes what the others leave
        child.send("p")
        child.expect_exact("paused")
        child.send("q")
        _ends(child, 0)


def test_ctrl_c_and_sigterm_restore_the_terminal(
    worker: Command, start: Callable[[Command], pexpect.spawn[str]]
) -> None:
    interrupted, terminated = start(worker), start(worker)
    for child in (interrupted, terminated):
        child.expect_exact("workers, ")
    interrupted.sendintr()
    _ends(interrupted, 130)
    terminated.kill(signal.SIGTERM)
    _ends(terminated, 0)


def test_a_broker_that_goes_away_is_told_and_looked_for(
    own_node: Broker, tmp_path: Path, start: Callable[[Command], pexpect.spawn[str]]
) -> None:
    child = start(Command(own_node.url, tmp_path))
    child.expect_exact("0 workers, 0 services")
    own_node.kill()
    child.expect_exact("no answer: ")
    child.send("/x")
    child.expect_exact("filter: x▏")  # its keys still work
    own_node.start()
    child.expect_exact("0.0 calls/s ")
    child.sendintr()
    _ends(child, 130)


def test_it_needs_a_terminal(worker: Command) -> None:
    refused = worker("top")
    assert refused.returncode == 2
    assert "rabibridge services --json" in refused.stderr
