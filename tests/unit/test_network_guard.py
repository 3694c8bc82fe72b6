"""``no_network``: a test on the broker in memory that opens a real connection fails, and says where."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from rabibridge import RMQClient
from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.plugins import plugin_manager
from rabibridge_core.settings import load_settings
from rabibridge_testing import fake_broker_context
from tests.unit.fake_support import add
from tests.unit.test_fake_context import run_pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("clean_place")


@pytest.fixture
def listening() -> Iterator[tuple[str, int]]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[:2]


def test_a_connection_is_refused_and_fails_the_test_that_swallows_it(listening: tuple[str, int]) -> None:
    host, port = listening
    with (
        pytest.raises(AssertionError, match=rf"to {host}:{port}, opened in {sys._getframe().f_code.co_name} \("),
        fake_broker_context(no_network=True),
        pytest.raises(ConnectionRefusedError, match="no_network"),
    ):
        socket.create_connection(listening)
    socket.create_connection(listening).close()


async def test_a_transport_of_its_own_reaches_no_broker(
    listening: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "0.1")
    settings = load_settings(url="amqp://a:b@{}:{}".format(*listening))
    with (
        pytest.raises(AssertionError, match=f"a connection to {listening[0]}:{listening[1]}"),
        fake_broker_context(no_network=True),
        pytest.raises(ConnectionLostError),
    ):
        await RMQClient(transport=plugin_manager().transport("amqp", settings, "real")).connect()


async def test_the_broker_in_memory_needs_no_network() -> None:
    with fake_broker_context(no_network=True) as broker:
        broker.add_service(add)
        async with RMQClient() as client:
            assert await client.call("add", 1, 2) == 3


def test_hosts_can_be_allowed(listening: tuple[str, int]) -> None:
    for allowed in (listening[0], "{}:{}".format(*listening)):
        with fake_broker_context(no_network=True, allowed_hosts=[allowed]):
            socket.create_connection(listening).close()


def test_new_event_loops_and_pairs_of_sockets_are_allowed() -> None:
    with fake_broker_context(no_network=True):
        asyncio.run(asyncio.sleep(0))
        for one in socket.socketpair():
            one.close()


@fake_broker_context(no_network=True)
def _connect_and_fail(address: tuple[str, int]) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    raise ZeroDivisionError


def test_what_fails_in_the_body_is_shown_first(listening: tuple[str, int]) -> None:
    with pytest.raises(ZeroDivisionError):
        _connect_and_fail(listening)


_TESTS = """
import socket

import pytest


def connect():
    try:
        socket.create_connection(("127.0.0.1", 1), timeout=5).close()
    except OSError:
        pass


@pytest.mark.fake_broker(no_network=True)
def test_one(fake_broker):
    connect()


def test_two(fake_broker):
    connect()


def test_three():
    connect()


@pytest.mark.fake_broker(no_network=True, allowed_hosts=["127.0.0.1:1"])
def test_four(fake_broker):
    connect()
"""


def test_the_fixture_refuses_by_a_marker_or_by_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_TESTS)
    printed = run_pytest(tmp_path, "")
    assert "1 failed, 3 passed" in printed, printed
    assert "no_network: the test tried to open" in printed
    printed = run_pytest(tmp_path, "rabibridge_no_network = true\n")
    assert "2 failed, 2 passed" in printed, printed
    printed = run_pytest(tmp_path, "rabibridge_no_network = true\nrabibridge_allowed_hosts = 127.0.0.1\n")
    assert "4 passed" in printed, printed
