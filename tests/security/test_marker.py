"""No password, key or passphrase is shown anywhere: each way to fail, and everything that a program shows meanwhile.

The secrets are marks that stand nowhere else. Whatever can be seen is searched for them: logs of all libraries at DEBUG
with the debug mode of asyncio, errors with the variables of their frames, reprs, pickles, error replies, what workers
tell about themselves, spans, metrics, the dashboard, and the output of the command.
"""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry, generate_latest
from starlette.testclient import TestClient
from yarl import URL

from rabibridge import RabiBridgeError, RMQClient, RMQServer
from rabibridge.dashboard import Dashboard
from rabibridge.sync import Client
from rabibridge_core.settings import Secret, load_settings
from rabibridge_core.settings.overview import overview
from rabibridge_telemetry.prometheus import RabiBridgeCollector
from tests.rabbitmq.support import Gate, ctl
from tests.security.watch import PASSWORD, SIGNING_KEY, Watch
from tests.support.proc import children_of
from tests.support.proxy import Proxy
from tests.support.telemetry import collected
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge_testing import FakeBroker
    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.users import Users
    from tools.broker import Broker


def _shows_itself(watch: Watch, place: str, one: Any) -> None:
    engine = getattr(one, "_client", None) or getattr(one, "_server", None)
    watch.thing(place, one, one.settings, one.settings.endpoints, one.settings.endpoints[0].password)
    if engine is not None:
        watch.thing(f"{place}, engine", engine, engine.transport)
    if one.last_error is not None:
        watch.error(f"{place}, last error", one.last_error)
    watch.thing(f"{place}, health", one.health())


def test_the_watch_finds_what_is_shown(tmp_path: Path) -> None:
    watch = Watch(PASSWORD)
    file = tmp_path / "leaky.py"
    file.write_text("def leak(password):\n    raise ValueError('nothing to see')\n")
    namespace: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    try:
        namespace["leak"](PASSWORD)
    except ValueError as error:
        watch.error("frame", error)
    watch.text("plain SASL", base64.b64encode(b"\0user\0" + PASSWORD.encode()).decode())
    watch.thing("object", [PASSWORD])
    places = {line.partition(": ...")[0] for line in watch.found()}
    expected = {"frame, with variables", "frame, rich", "frame, frames", "plain SASL", "object: list"}
    assert expected <= places
    assert "frame, plain" not in places


_FAILING = "from rabibridge import register_call\n@register_call\nasync def f(): 1 / 0\n"

# ---- connecting


async def test_connections_that_fail(stage: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "1")
    monkeypatch.setenv("RABIBRIDGE_SIGNING_KEY", SIGNING_KEY)
    asyncio.get_running_loop().set_debug(True)
    right = URL(stage.url)
    wrong = right.with_user("somebody").with_password(PASSWORD)
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as deaf:
        places = {
            "wrong password": wrong,
            "wrong password of a user": right.with_password(PASSWORD),
            "nobody listens": wrong.with_port(1),
            "another protocol": wrong.with_port(deaf.sockets[0].getsockname()[1]),
            "TLS to a port without it": wrong.with_scheme("amqps"),
            "no such host": wrong.with_host("no-such-host.invalid"),
        }
        for place, url in places.items():
            for kind in (RMQClient, RMQServer):
                made = kind(url=str(url))
                _shows_itself(watch, f"{place}, before", made)
                with pytest.raises(RabiBridgeError) as failed:
                    await soon(made.connect())
                watch.error(place, failed.value)
                _shows_itself(watch, place, made)
                await soon(made.close())
                _shows_itself(watch, f"{place}, closed", made)

        def synchronous() -> None:
            client = Client(url=str(wrong))
            watch.thing("synchronous client", client)
            try:
                client.remote_call("x", (), timeout=5)
            except RabiBridgeError as error:
                watch.error("synchronous client", error)
            client.close()

        await asyncio.to_thread(synchronous)


# ---- calls


async def test_calls_that_fail(
    stage: Stage, users: Users, governed: Broker, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABIBRIDGE_SIGNING_KEY", SIGNING_KEY)
    monkeypatch.setenv("RABIBRIDGE_OPENTELEMETRY", "true")
    exported, registry = collected(), CollectorRegistry()
    exported.clear()
    registry.register(RabiBridgeCollector())
    asyncio.get_running_loop().set_debug(True)
    limited = await users.add(".*", ".*", ".*")
    name = str(URL(limited).user)
    await ctl(governed, "change_password", name, PASSWORD)
    gate = Gate()

    async def fail() -> None:
        raise LookupError("it failed")

    async def give(value: Any) -> Any:
        return asyncio.current_task()

    functions: list[Callable[..., Any]] = [fail, give, gate.function()]
    failing, giving, waiting = [stage.register(function) for function in functions]
    async with Proxy(str(URL(limited).with_password(PASSWORD)), whole_frames=True) as proxy:
        server = await stage.server(*functions, url=proxy.url, serializer="pickle")
        client = await stage.client(url=proxy.url, serializer="pickle")
        unsigned = await stage.client(url=proxy.url)
        for caller in (client, unsigned):
            await _fails(watch, "exception", caller.remote_call(failing, (), timeout=30))
            await _fails(watch, "result that cannot be sent", caller.remote_call(giving, (1,), timeout=30))
            await _fails(watch, "argument that cannot be sent", caller.remote_call(giving, (gate,), timeout=30))
            await _fails(watch, "unknown service", caller.remote_call("no_such_service", (), timeout=30))
            await _fails(watch, "timeout", caller.remote_call(waiting, (), timeout=1))
            watch.thing("workers", *(await soon(caller.workers(timeout=5))))
            watch.thing("services", *(await soon(caller.services(timeout=5))))
        call = asyncio.create_task(client.remote_call(waiting, ("x",), timeout=30))
        await until(lambda: gate.running > 0)
        proxy.cut()
        await _fails(watch, "connection lost", call)
        await until(lambda: client.health().ok and server.health().ok)
        await ctl(governed, "change_password", name, "another")
        proxy.cut()
        await until(lambda: client.last_error is not None and server.last_error is not None)
        await _fails(watch, "password changed", client.remote_call(failing, (), timeout=3))
        for one in (client, unsigned, server):
            _shows_itself(watch, "at the end", one)
        metrics = generate_latest(registry).decode()
    assert {span.kind for span in exported.spans} >= {SpanKind.CLIENT, SpanKind.SERVER}
    assert any(span.events for span in exported.spans)
    assert failing in metrics
    for span in exported.spans:
        watch.text(f"span {span.name}", span.to_json())
    for side in ("client", "server"):
        watch.text(f"metrics of OpenTelemetry, {side}", repr(exported.points(f"rpc.{side}.call.duration")))
    watch.text("metrics for Prometheus", metrics)


async def _fails(watch: Watch, place: str, call: Awaitable[Any]) -> None:
    try:
        await call
    except RabiBridgeError as error:
        watch.error(place, error)
    else:
        pytest.fail(f"{place}: nothing failed")


async def test_forged_and_unsigned_bodies(watch: Watch, fake_broker: FakeBroker) -> None:
    settings = replace(load_settings(require_broker=False), signing_key=Secret(SIGNING_KEY), serializer="pickle")
    other = replace(settings, signing_key=Secret("another key " + "x" * 16))

    async def echo(value: Any) -> Any:
        return value

    server = RMQServer(settings=settings)
    server.add_service(echo, name="echo")
    async with server.serving():
        for one in (settings, other):
            async with RMQClient(settings=one) as client:
                if one is settings:
                    assert await client.remote_call("echo", (1,), timeout=30) == 1
                else:
                    await _fails(watch, "signed with another key", client.remote_call("echo", (1,), timeout=30))
                watch.thing("client", client, client.settings)
    watch.thing("recorded conversation", *fake_broker.calls)
    watch.thing("broker in memory", fake_broker)


async def test_key_rings(watch: Watch, fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    key = base64.b64encode(SIGNING_KEY.encode()).decode()
    monkeypatch.setenv("RABIBRIDGE_SIGNING_KEY_ID", "k1")
    right, other = f"k1 hmac-sha256 {key}", f"k1 hmac-sha256 {base64.b64encode(b'x' * 32).decode()}"
    wrong = [f"k1 hmac-sha257 {key}", f"k1 {key}", f"{key} hmac-sha256 x", f"k1 hmac-sha256 {key}!", f"{right} never"]
    for lines in [right, *wrong, f"{right};{right}", f"k1 aes-256-gcm {key}", f"k1 ed25519 {key}"]:
        monkeypatch.setenv("RABIBRIDGE_SIGNING_KEYS", lines)
        try:
            client = RMQClient()
            watch.thing("client", client, client.settings, overview())
        except RabiBridgeError as error:
            watch.error("key ring", error)

    async def fail(value: Any) -> Any:
        raise LookupError(value)

    monkeypatch.setenv("RABIBRIDGE_SIGNING_KEYS", right)
    server = RMQServer()
    server.add_service(fail, name="fail")
    async with server.serving():
        for lines in (right, other):
            monkeypatch.setenv("RABIBRIDGE_SIGNING_KEYS", lines)
            async with RMQClient() as client:
                await _fails(watch, "signed call", client.remote_call("fail", (1,), timeout=30))
                watch.thing("client", client, client.settings)
    watch.thing("recorded conversation", *fake_broker.calls)


# ---- what others look at


def test_the_dashboard(watch: Watch, vhost_url: str) -> None:
    wrong = str(URL(vhost_url).with_password(PASSWORD))
    client = RMQClient(url=wrong)
    with TestClient(Dashboard(client=client), base_url="http://localhost") as browser:
        for page in ("/", "/api/state", "/api/dead", "/nothing"):
            answer = browser.get(page)
            watch.text(f"dashboard {page}", f"{answer.status_code} {answer.headers} {answer.text}")


def test_the_command_and_its_processes(watch: Watch, vhost_url: str, tmp_path: Path) -> None:
    (tmp_path / "services.py").write_text(_FAILING)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RABIBRIDGE_", "RABBITMQ_"))}
    debug = {"PYTHONASYNCIODEBUG": "1", "RABIBRIDGE_LOG_LEVEL": "DEBUG", "RABIBRIDGE_SIGNING_KEY": SIGNING_KEY}
    environment = kept | debug | {"RABIBRIDGE_URL": str(URL(vhost_url).with_password(PASSWORD))}
    commands = [
        ["config", "show"], ["config", "show", "--json"], ["config", "check"], ["doctor"],
        ["ping"], ["call", "f", "--json"], ["run", "services.py", "--workers", "1"],
    ]  # fmt: skip
    for arguments in commands:
        line = [sys.executable, "-m", "rabibridge", *arguments]
        with subprocess.Popen(
            line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                output, _ = process.communicate(timeout=10 if arguments[0] == "run" else 120)
            except subprocess.TimeoutExpired:
                for shown in _command_lines(process.pid):
                    watch.text("ps", shown)
                process.terminate()
                output, _ = process.communicate(timeout=60)
        watch.text(f"output of {arguments}", output)


def _command_lines(root: int) -> list[str]:
    """Return the command lines of a process and of its children, where the system shows them."""
    found, lines = [root], []
    for pid in found:
        found += children_of(pid)
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile, or there is no /proc
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace"))
    return lines
