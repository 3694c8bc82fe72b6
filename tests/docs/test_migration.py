"""The programs of the migration pages: those of before run with the library that they were written for.

The libraries are in ``.venv-migration``, which is made on first use and kept; RabiBridge 0.1.2, which has our import
name, is in ``.venv-peer``. Each program is a process, as on the page: this takes a few seconds for each page.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pika  # type: ignore[import-untyped]  # it ships no types
import pytest
from pika.exceptions import ChannelClosedByBroker  # type: ignore[import-untyped]

from tests.docs.blocks import ROOT, blocks_of
from tests.docs.processes import TIMEOUT, clean_environment
from tests.support.waiting import PATIENCE
from tools.peers import PeerError, peer_home, peer_python
from tools.venv import VenvError, venv_python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_testing._servers.base import Broker

REQUIREMENTS = (
    "aio-pika>=10.2,<11", "celery>=5.7,<6", "faststream[rabbit,cli]>=0.7.8,<0.8", "nameko>=2.14,<3",
    "setuptools<81",  # the command of nameko imports pkg_resources from it
)  # fmt: skip
QUEUES = {
    "aio-pika-rpc": ("divide", "rpc_async_divide"),
    "celery-rpc": ("celery", "rpc_sync_divide"),
    "faststream": ("divide", "rpc_async_divide"),
    "nameko": ("rpc-calculator", "rpc_sync_calculator.divide"),
}
"""The queues from which the services of each page get their calls, before and after."""

pytestmark = [pytest.mark.rabbitmq, pytest.mark.interop, pytest.mark.timeout(600)]  # the first run installs the peers


class Session(NamedTuple):
    """A console block: a command that serves, one that calls, and what that prints."""

    service: str
    client: str
    printed: str


def _sessions(page: str) -> list[Session]:
    texts = [block.text for block in blocks_of(Path(f"docs/migration/{page}.md")) if block.language == "console"]
    lines = [text.splitlines(keepends=True) for text in texts]
    return [
        Session(service.removeprefix("$ ").rstrip(" &\n"), client.removeprefix("$ ").rstrip(), "".join(printed))
        for service, client, *printed in lines
    ]


def _write_files(page: str, folder: Path) -> None:
    for block in blocks_of(Path(f"docs/migration/{page}.md")):
        if block.file is not None:
            (folder / block.file).write_text(block.text, encoding="utf-8")


def _environment(python: Path, url: str) -> dict[str, str]:
    """Return the environment of a terminal in which the virtual environment of this Python is active."""
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return clean_environment(url) | {"PATH": path, "AMQP_URL": url, "PYTHONUNBUFFERED": "1"}


def _consumers(connection: pika.BlockingConnection, queue: str) -> int:
    channel = connection.channel()
    try:
        count: int = channel.queue_declare(queue, passive=True).method.consumer_count
    except ChannelClosedByBroker:  # there is no such queue yet
        return 0
    channel.close()
    return count


def _wait_until_served(program: subprocess.Popen[bytes], url: str, queue: str, log: Path) -> None:
    """Wait until a consumer receives from the queue: the programs say so in different ways, or not at all."""
    until = time.monotonic() + PATIENCE
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        while not _consumers(connection, queue):
            assert program.poll() is None, f"it ended:\n{log.read_text(encoding='utf-8', errors='replace')}"
            assert time.monotonic() < until, f"nobody serves {queue}:\n{log.read_text(errors='replace')}"
            connection.sleep(0.2)


@contextmanager
def _serving(command: str, folder: Path, environment: dict[str, str], queue: str) -> Iterator[None]:
    """Run a command that serves; begin when it receives from the queue."""
    log = folder / "log.txt"
    with log.open("wb") as output:
        program = subprocess.Popen(
            ["sh", "-c", f"exec {command}"], cwd=folder, env=environment, stdout=output, stderr=output
        )
    try:
        _wait_until_served(program, environment["AMQP_URL"], queue, log)
        yield
    finally:
        program.terminate()
        program.wait(TIMEOUT)


def _calling(command: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["sh", "-c", f"exec {command}"], cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def python_of_peers() -> Path:
    try:
        return venv_python(ROOT / ".venv-migration", REQUIREMENTS)
    except VenvError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the other libraries could not be installed: {error}")


@pytest.mark.parametrize("page", sorted(QUEUES))
def test_both_programs_have_the_same_results(page: str, tmp_path: Path, python_of_peers: Path, vhost_url: str) -> None:
    _write_files(page, tmp_path)
    before, after = _sessions(page)
    for session, python, queue in zip(
        (before, after), (python_of_peers, Path(sys.executable)), QUEUES[page], strict=True
    ):
        environment = _environment(python, vhost_url)
        with _serving(session.service, tmp_path, environment, queue):
            assert _calling(session.client, tmp_path, environment) == session.printed
    assert before.printed.splitlines()[0] == after.printed.splitlines()[0]


def test_one_program_runs_with_both_versions(tmp_path: Path, rabbitmq: Broker) -> None:
    try:
        old = peer_python()
    except PeerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    _write_files("rabibridge-0.1", tmp_path)
    url = rabbitmq.url_of("/")  # 0.1.2 knows no other virtual host
    address = {"RABBIT_HOST": rabbitmq.host, "RABBIT_PORT": str(rabbitmq.port)}
    before, after = _sessions("rabibridge-0.1")
    with_old = _environment(old, url) | address | {"PYTHONPATH": str(peer_home(tmp_path, old, "msgpack"))}
    with_new = _environment(Path(sys.executable), url) | address
    try:
        for session, environment in ((before, with_old), (after, with_new)):
            with _serving(session.service, tmp_path, environment, "rpc_async_divide"):
                assert _without_log(_calling(session.client, tmp_path, environment)) == session.printed
    finally:
        with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
            connection.channel().queue_delete("rpc_async_divide")


def _without_log(output: str) -> str:
    """0.1.2 logs to standard output."""
    return "".join(line for line in output.splitlines(keepends=True) if " | " not in line)


def test_every_migration_page_is_tested() -> None:
    pages = {path.stem for path in (ROOT / "docs/migration").glob("*.md")}
    assert pages == {*QUEUES, "rabibridge-0.1"}
