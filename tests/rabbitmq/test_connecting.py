"""Brokers that are not there, that refuse, and that are one of several; and the password, which nobody sees."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
import time
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from rabibridge import ConfigurationError, ConnectionLostError, RMQBase, RMQClient, RMQServer
from rabibridge_core.transport import ConnectionState
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, soon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rabbitmq.support import Stage

PASSWORD = "open-sesame-91c2"


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port on which connections are refused, as long as the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(params=[RMQClient, RMQServer, RMQBase])
def cls(request: pytest.FixtureRequest) -> type[RMQBase]:
    kind: type[RMQBase] = request.param
    return kind


async def test_a_port_where_nobody_listens(cls: type[RMQBase], dead_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "0.5")
    made = cls(None, "127.0.0.1", dead_port, "guest", PASSWORD)
    started = time.monotonic()
    with pytest.raises(ConnectionLostError, match=f"127.0.0.1:{dead_port}") as lost:
        await soon(made.connect())
    assert time.monotonic() - started < PATIENCE / 2
    assert isinstance(lost.value, ConnectionError)
    assert lost.value.executed is False
    assert made.state is ConnectionState.IDLE  # it may be tried again
    await soon(made.close())


async def test_a_host_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "0.3")

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side gives up
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    client = RMQClient(url=f"amqp://guest:{PASSWORD}@127.0.0.1:{port}/")
    with pytest.raises(ConnectionLostError, match=f"127.0.0.1:{port}"):
        await soon(client.connect())
    await soon(client.close())
    silent.close()


async def test_a_server_that_speaks_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "0.3")
    web = await asyncio.start_server(web_server, "127.0.0.1", 0)
    port = web.sockets[0].getsockname()[1]
    client = RMQClient(url=f"amqp://guest:{PASSWORD}@127.0.0.1:{port}/")
    with pytest.raises((ConnectionLostError, ConfigurationError), match=f"127.0.0.1:{port}"):
        await soon(client.connect())
    await soon(client.close())
    web.close()


async def test_a_wrong_password_is_told_at_once_and_not_tried_again(stage: Stage, cls: type[RMQBase]) -> None:
    async with Proxy(stage.url) as proxy:
        parts = urlsplit(proxy.url)
        made = cls(url=f"amqp://{parts.username}:{PASSWORD}@127.0.0.1:{parts.port}{parts.path}")
        with pytest.raises(ConfigurationError, match="password") as refused:
            await soon(made.connect())
        assert PASSWORD not in "".join(traceback.format_exception(refused.value))
        assert f"127.0.0.1:{parts.port}" in str(refused.value)
        assert len(proxy.links) == 1
        assert made.state is ConnectionState.CLOSED
        await soon(made.close())


async def test_what_a_refused_log_in_leaves_may_be_collected_in_any_thread(stage: Stage) -> None:
    url = stage.url.replace(f":{urlsplit(stage.url).password}@", ":wrong@")
    gc.collect()
    for _ in range(3):
        with pytest.raises(ConfigurationError, match="password"):
            await RMQClient(url=url).connect()
    await asyncio.to_thread(gc.collect)  # warnings are errors, also those of destructors


async def test_a_virtual_host_that_is_not_there(stage: Stage, cls: type[RMQBase]) -> None:
    async with Proxy(stage.url) as proxy:
        parts = urlsplit(proxy.url)
        made = cls(url=f"amqp://{parts.username}:{parts.password}@127.0.0.1:{parts.port}/", virtualhost="not/there")
        with pytest.raises(ConfigurationError, match="not/there"):
            await soon(made.connect())
        assert len(proxy.links) == 1
        await soon(made.close())


@pytest.mark.parametrize("form", ["list", "text"])
async def test_the_second_host_takes_over(stage: Stage, dead_port: int, form: str) -> None:
    async def answer() -> str:
        return "answer"

    parts = urlsplit(stage.url)
    hosts = [f"127.0.0.1:{dead_port}", f"{parts.hostname}:{parts.port}"]
    options: dict[str, Any] = {
        "url": None,
        "host": hosts if form == "list" else ",".join(hosts),
        "username": parts.username,
        "password": parts.password,
        "virtualhost": parts.path[1:] or "/",
    }
    name = stage.register(answer)
    await stage.server(answer, **options)
    client = await stage.client(**options)
    assert await soon(client.remote_call(name)) == "answer"


async def test_several_urls(stage: Stage, dead_port: int) -> None:
    client = await stage.client(url=[f"amqp://guest:{PASSWORD}@127.0.0.1:{dead_port}/", stage.url])
    assert client.state is ConnectionState.READY


async def test_the_documented_arguments(stage: Stage) -> None:
    parts = urlsplit(stage.url)
    assert parts.port is not None
    async with RMQClient(
        asyncio.get_running_loop(), parts.hostname, parts.port, parts.username, parts.password,
        virtualhost=parts.path[1:] or "/",
    ) as client:  # fmt: skip
        assert client.state is ConnectionState.READY


async def test_settings_from_the_environment(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_URL", stage.url)
    async with RMQClient() as client, RMQServer() as server:
        assert client.state is server.state is ConnectionState.READY


async def test_settings_from_the_documented_file(stage: Stage, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = urlsplit(stage.url)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "env.toml").write_text(
        f'[rabbitmq]\nRABBITMQ_HOST = "{parts.hostname}"\nRABBITMQ_PORT = {parts.port}\n'
        f'RABBITMQ_USERNAME = "{parts.username}"\nRABBITMQ_PASSWORD = "{parts.password}"\n'
        "[app]\nCID_MAX = 2048\nCOMPRESS_THRESHOLD = 99\nSERIALISER = 'json'\nLOG_LEVEL = 'INFO'\n"
    )
    for variable in ("RABIBRIDGE_URL", "RABIBRIDGE_CONFIG", "RABBITMQ_HOST"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    async with RMQClient(virtualhost=parts.path[1:] or "/") as client:
        assert client.state is ConnectionState.READY
        assert client.settings.cid_max == 2048
        assert client.settings.compress_threshold == 99
        assert client.settings.serializer == "json"


async def test_the_password_is_seen_nowhere(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, dead_port: int
) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "0.2")
    parts = urlsplit(stage.url)
    errors: list[BaseException] = []
    shown: list[str] = []
    with caplog.at_level(logging.DEBUG, "rabibridge"), caplog.at_level(logging.DEBUG, "rabibridge_core"):
        for port in (dead_port, parts.port):
            for kind in (RMQClient, RMQServer):
                made = kind(None, parts.hostname, port, "somebody", PASSWORD)
                with pytest.raises((ConnectionLostError, ConfigurationError)) as failed:
                    await soon(made.connect())
                errors.append(failed.value)
                engine: Any = getattr(made, "_client", None) or getattr(made, "_server", None)
                shown += [repr(made), str(made), repr(vars(made)), repr(made.settings), str(made.settings)]
                shown += [repr(made.settings.endpoints), repr(engine), repr(vars(engine)), repr(vars(engine.transport))]
                await soon(made.close())
    assert PASSWORD not in "\n".join(shown)
    for error in errors:
        chain = "".join(traceback.format_exception(error))
        assert PASSWORD not in chain
    ours = [record for record in caplog.records if record.name.startswith("rabibridge")]
    assert ours
    assert not any(PASSWORD in record.getMessage() or PASSWORD in (record.exc_text or "") for record in ours)


async def test_tls_to_a_port_without_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "0.5")
    client = RMQClient(url=stage.url, ssl=ssl.create_default_context())
    with pytest.raises(ConfigurationError, match=f"{urlsplit(stage.url).port}.*does not speak TLS"):
        await soon(client.connect())
    await soon(client.close())
