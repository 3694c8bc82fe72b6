"""The options that stand before a command: every command that connects does so by TLS, and looks into one namespace."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiormq
import pexpect
import pytest
from cryptography.hazmat.primitives import serialization

from rabibridge.cli.app import COMMANDS
from rabibridge.settings import RABBITMQ
from rabibridge_core.settings.fields import rules_of
from tests.cli.conftest import Command
from tests.support.waiting import PATIENCE, soon, until_true

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.tls_broker import TLSBroker

SERVICES = """
from rabibridge import register_call

@register_call
async def add(a, b=1):
    return a + b

@register_call
async def fail():
    raise LookupError("of billing")
"""
OFFLINE = {"new", "config", "secret", "permissions", "version"}
"""Commands that connect to nothing."""
LONG = ("--timeout", "45")
"""As long as a busy machine needs to answer; the command waits no longer than until all workers have."""
PRINTING = {
    "call": (("add", "1", "2"), "3"),
    "notify": (("add", "1"), ""),
    "bench": (("add", "1", "--calls", "2", "--yes", "--json"), '"calls"'),
    "ping": ((), "connected in"),
    "services": (("--json", *LONG), '"add"'),
    "workers": (("--json", *LONG), '"add"'),
    "health": (LONG, ""),
    "doctor": ((), "billing:rpc.dead: none"),
    "dead": (("list", "--json"), "[]"),
    "queue": (("list",), "billing:rpc_async_add"),
    "schema": (("--live", *LONG), '"openrpc"'),
    "stubs": (("--live", *LONG), "def add"),
}
"""A way to use each command that ends by itself, and a part of what it prints."""
SCREENS = {"run", "top", "dashboard"}
"""Commands that stay: run serves the others here, top and dashboard have a test below."""


def locked_key(key: str, folder: Path) -> None:
    """Write client.key, which is encrypted, and its password."""
    for name in ("client.key", "password"):
        (folder / name).touch(mode=0o600)
    secret = serialization.BestAvailableEncryption(b"open-sesame")
    loaded = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    kinds = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "client.key").write_bytes(loaded.private_bytes(*kinds, secret))
    (folder / "password").write_text("open-sesame\n")


def heard(process: subprocess.Popen[str], text: str) -> str:
    """Return the first line on standard error with a text."""
    assert process.stderr is not None
    before = []
    for line in process.stderr:
        before.append(line)
        if text in line:
            return line
    pytest.fail("".join(before))


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    with process:
        try:
            yield process
        finally:
            process.terminate()


async def publish_requests_that_die(queues: dict[str, str], url: str, tls_broker: TLSBroker) -> None:
    """Put a request whose sender cannot be answered into each of some queues, and wait for its dead letter."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        for queue in queues:
            properties = aiormq.spec.Basic.Properties(reply_to="no-reply-queue", correlation_id="1")
            await channel.basic_publish(b"", routing_key=queue, properties=properties)
    finally:
        await connection.close()

    async def died() -> bool:
        rows = await tls_broker.ctl("list_queues", "-p", url.rpartition("/")[2], "name", "messages")
        return all(f"{dead}\t1" in rows.splitlines() for dead in queues.values())

    await until_true(died)


@pytest.fixture(scope="module")
def options(tls_broker: TLSBroker, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder, pair = tmp_path_factory.mktemp("options"), tls_broker.client("guest")
    locked_key(pair.key, folder)
    given = {
        "--namespace": "billing",
        "--tls-ca-file": tls_broker.ca,
        "--tls-cert-file": pair.certificate,
        "--tls-key-file": f"{folder}/client.key",
        "--tls-key-password-file": f"{folder}/password",
        "--tls-server-name": "localhost",
        "--auth-mechanism": "external",
    }
    return tuple(part for each in given.items() for part in each)


@pytest.fixture(scope="module")
def secured(
    tls_broker: TLSBroker, options: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Command]:
    """Services in ``billing``, in two workers, beside others in no namespace; the URL has no login."""
    folder, url = tmp_path_factory.mktemp("secured"), tls_broker.node.fresh_vhost()
    (folder / "services.py").write_text(SERVICES)
    (folder / "outside.py").write_text(SERVICES.replace("add", "outside").replace("fail", "fail_outside"))
    command = Command(f"amqps://127.0.0.1:{tls_broker.port}/{url.rpartition('/')[2]}", folder)
    with (
        Command(url, folder).serving("outside.py"),
        ended(command.start(*options, "run", "services.py", "--workers", "2")) as supervisor,
    ):
        heard(supervisor, "serves")
        heard(supervisor, "serves")
        yield command


def test_each_setting_of_tls_has_an_option_and_each_command_is_in_a_table_here() -> None:
    line = [sys.executable, "-m", "rabibridge", "-h"]
    shown = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    page = Path("docs/tls.md").read_text()
    for name, rule in rules_of(RABBITMQ.settings).items():
        if rule.group == "tls":
            option = f"--{name.replace('_', '-')}{'-file' if rule.secret else ''}"
            assert f"{option} " in shown
            assert option in page
    assert {*COMMANDS} == {*OFFLINE, *PRINTING, *SCREENS}


def test_every_command_that_prints(secured: Command, options: tuple[str, ...]) -> None:
    def use(name: str) -> subprocess.CompletedProcess[str]:
        return secured(*options, name, *PRINTING[name][0])

    with ThreadPoolExecutor(2) as threads:
        for name, ran in zip(PRINTING, threads.map(use, PRINTING), strict=True):
            assert ran.returncode == 0, f"{name}: {ran.stdout}{ran.stderr}"
            assert PRINTING[name][1] in ran.stdout
            assert "outside" not in ran.stdout + ran.stderr


def test_top_shows_the_services_of_the_namespace(secured: Command, options: tuple[str, ...]) -> None:
    assert secured(*options, "call", "fail").returncode == 1
    program, *arguments = secured.line(*options, "top", "--interval", "0.2")
    child = pexpect.spawn(
        program,
        arguments,
        cwd=str(secured.folder),
        env={**secured.environment(), "TERM": "xterm", "COLUMNS": "", "LINES": ""},
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=PATIENCE,
    )
    try:
        child.expect_exact("2 workers, 2 services")
        child.send("/fail\r")
        child.expect_exact("filter: fail")
        child.send("\r")
        child.expect_exact("LookupError: of billing")
        child.send("q")
        child.expect(pexpect.EOF)
        assert "outside" not in (child.before or "")
    finally:
        child.close(force=True)


def test_the_dashboard_shows_the_services_of_the_namespace(
    secured: Command, options: tuple[str, ...], tls_broker: TLSBroker
) -> None:
    with ended(secured.start(*options, "dashboard", "--port", "0", "--interval", "0.2")) as process:
        assert process.stdout is not None
        where = re.search(r"http://\S+", process.stdout.readline())
        assert where
        names: set[str] = set()
        state = None
        with urllib.request.urlopen(f"{where[0]}api/events", timeout=PATIENCE) as events:
            for line in events:
                if line.startswith(b"data:"):
                    state = json.loads(line[5:])
                    names = {service["name"] for service in state.get("services", ())}
                if len(names) == 2:
                    break
        assert names == {"add", "fail"}
        queues = {"billing:rpc_async_add": "billing:rpc.dead", "rpc_async_outside": "rpc.dead"}
        plain = tls_broker.node.url_of(secured.url.rpartition("/")[2])
        asyncio.run(soon(publish_requests_that_die(queues, plain, tls_broker)))
        with urllib.request.urlopen(f"{where[0]}api/dead", timeout=PATIENCE) as answer:
            letters = json.load(answer)["letters"]
        assert [letter["service"] for letter in letters] == ["add"]


def test_an_option_goes_before_variables_and_is_refused_beside_a_parameter_of_the_url(
    secured: Command, options: tuple[str, ...], tls_broker: TLSBroker, tmp_path: Path
) -> None:
    variables = {"RABIBRIDGE_TLS_KEY_PASSWORD": "wrong", "RABIBRIDGE_TLS_CA_FILE": "none.pem"}
    assert secured(*options, "call", "add", "1", "2", **variables).stdout == "3\n"
    refused = secured("--tls-server-name", "wrong.example", *options[2:4], "ping")
    assert refused.returncode == 3
    wrong = secured(*[part.replace("localhost", "wrong.example") for part in options], "ping")
    assert wrong.returncode == 3
    assert "the broker's certificate is not for 'wrong.example'" in wrong.stderr
    url = f"{secured.url}?cacertfile={tls_broker.ca}"
    both = secured(*options, "ping", RABIBRIDGE_URL=url)
    assert both.returncode == 2
    assert "the URL in RABIBRIDGE_URL has the parameter cacertfile: leave one of them out" in both.stderr
    for given, says in (
        (("--tls-ca-file", f"{tmp_path}/none.pem", "ping"), "none.pem' does not exist"),
        (("--tls-server-name", " ", "ping"), "is empty"),
        (("ping", "--tls-ca-file", tls_broker.ca), "It stands before the command: rabibridge --tls-ca-file"),
    ):
        ran = secured(*given)
        assert ran.returncode == 2
        assert says in " ".join(ran.stderr.split())
