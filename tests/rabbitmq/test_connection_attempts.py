"""What a program sees of a connection that is being made: log lines, short errors without secrets, and giving up."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import secrets
import socket
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from rabibridge import ConfigurationError, ConnectionLostError, RMQBase, RMQClient, RMQServer
from rabibridge_core.transport import ConnectionState
from tests.rabbitmq.support import Gate
from tests.support.proxy import Proxy
from tests.support.secret_frames import secrets_in
from tests.support.waiting import PATIENCE, longer, soon, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rabbitmq.support import Stage

PASSWORD = "open-sesame-77f0"


@pytest.fixture
def dead_url() -> Iterator[str]:
    """A URL where connections are refused, as long as the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"amqp://guest:{PASSWORD}@127.0.0.1:{taken.getsockname()[1]}/"


async def test_attempts_and_the_time_left_are_logged(
    dead_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rabibridge_core.connection.connector._FIRST_LOG_INTERVAL", 0.2)
    timeouts = longer(1)
    while True:
        seconds = next(timeouts)
        monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", str(seconds))
        client = RMQClient(url=dead_url)
        caplog.clear()
        with pytest.raises(ConnectionLostError, match=rf"gave up after \d+ attempts in connect_timeout={seconds} s"):
            await soon(client.connect())
        lines = [line for line in caplog.messages if "retrying" in line]
        if len(lines) >= 2:  # there was time for that many
            break
    numbers = [re.search(r"attempt (\d+), retrying for another (\d+\.\d) s", line) for line in lines]
    assert all(numbers), lines
    assert numbers[0] is not None
    assert numbers[0][1] == "1"
    await client.close()


@pytest.mark.parametrize("cls", [RMQClient, RMQServer, RMQBase])
async def test_the_error_is_short(dead_url: str, cls: type[RMQBase], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "0.2")
    with pytest.raises(ConnectionLostError) as lost:
        async with cls(url=dead_url):
            pytest.fail("nobody listens there")
    text = "".join(traceback.format_exception(lost.value))
    assert text.count("Traceback") == 1, text
    assert len(text.splitlines()) < 25, text
    assert not secrets_in(lost.value, PASSWORD)


@pytest.mark.parametrize("path", ["", "no-such-virtual-host"])
async def test_a_log_in_that_is_refused_carries_no_secret(stage: Stage, path: str) -> None:
    address = urlsplit(stage.url)
    client = RMQClient(url=f"amqp://guest:{PASSWORD}@{address.hostname}:{address.port}/{path}")
    with pytest.raises(ConfigurationError, match="password") as refused:
        await soon(client.connect())
    assert not secrets_in(refused.value, PASSWORD)
    assert client.last_error is not None
    assert not secrets_in(client.last_error, PASSWORD)
    await client.close()


async def test_connect_asks_a_broker_again_that_has_refused(stage: Stage) -> None:
    address = urlsplit(stage.url)
    proper = f"amqp://guest:guest@{address.hostname}:{address.port}/"
    virtual_host = f"later_{secrets.token_hex(4)}"
    client = RMQClient(url=f"{proper}{virtual_host}")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=virtual_host):
            await soon(client.connect())
        assert client.state is ConnectionState.CLOSED
    await client.close()


@pytest.mark.parametrize("cls", [RMQClient, RMQServer, RMQBase])
@pytest.mark.parametrize(
    "options",
    [
        {"url": f"amqp://guest:{PASSWORD}@host:port/"},
        {"host": "a b", "port": 5672, "username": "guest", "password": PASSWORD},
        {"url": f"amqp://guest:{PASSWORD}@host/", "serializer": "unheard-of"},
    ],
    ids=["URL", "fields", "serializer"],
)
def test_a_client_that_cannot_be_made_carries_no_secret(cls: type[RMQBase], options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        cls(**options)
    assert not secrets_in(wrong.value, PASSWORD)


async def test_connect_that_is_cancelled_stops_and_may_be_called_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", str(PATIENCE))
    async with Proxy(stage.url) as proxy:
        proxy.refusing = True
        client = RMQClient(url=proxy.url)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.connect()
        await until(lambda: client.state is ConnectionState.IDLE)
        first, second = asyncio.create_task(client.connect()), asyncio.create_task(client.connect())
        await asyncio.sleep(0.1)
        first.cancel()
        await asyncio.wait([first])
        proxy.refusing = False
        await soon(second)
        assert client.state is ConnectionState.READY
        await client.close()
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio" and record.levelno >= logging.ERROR]


async def test_the_task_of_the_connection_is_cancelled_by_the_program(stage: Stage) -> None:
    gate = Gate()
    name = await stage.serve(gate.function())
    client = await stage.client()
    calls = [asyncio.create_task(client.remote_call(name, idempotent=again)) for again in (False, True)]
    await until(lambda: client.pending == 2)
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == f"{client.name}-connection"]
    task.cancel()
    for call in calls:
        with pytest.raises(ConnectionLostError, match="cancelled by the program"):
            await soon(call)
    with pytest.raises(ConnectionLostError, match="cancelled by the program") as refused:
        await soon(client.remote_call(name))
    assert refused.value.executed is False
    assert client.state is ConnectionState.CLOSED
    assert not client.health()
    assert "cancelled by the program" in client.health().reasons[0]
    await soon(client.connect())
    assert client.health()
    gate.opened.set()  # else the server waits for the calls, whose caller is gone, when it stops


async def test_a_server_whose_connection_task_is_cancelled_stops_with_the_error(stage: Stage) -> None:
    async def nothing() -> None: ...

    server = stage.new_server()
    server.add_service(nothing)
    await soon(server.connect())
    serving = asyncio.create_task(server.run_serve(signals=False))
    await until(lambda: bool(server.health()))
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == f"{server.name}-connection"]
    task.cancel()
    with pytest.raises(ConnectionLostError, match="cancelled by the program"):
        await soon(serving)
    assert not server.health()
    await server.close()
