"""Whoever waits until a server serves hears why it does not, however late the broker refuses it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands as spec

from rabibridge import RMQServer
from rabibridge_core._hosting.program import serve_program
from rabibridge_core.errors import ConfigurationError
from rabibridge_testing import fake_broker_context
from tests.support.scripted_broker import STUCK, Peer, PeerConnection
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

REFUSAL = spec.Channel.Close(
    406,
    "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'rpc_async_work' in vhost '/': received the value "
    "'7' of type 'signedint' but current is none",
    50, 10,
)  # fmt: skip


async def work() -> None:
    """Do nothing."""


class Refusing:
    """A broker that refuses the queue of ``work``; it gives its first answers only when it is told to."""

    def __init__(self, late: int) -> None:
        self.late = late
        self.mended = False
        self._stuck: list[tuple[PeerConnection, int]] = []

    def __call__(self, connection: PeerConnection, channel: int, frame: Any) -> Any:
        if self.mended or not isinstance(frame, spec.Queue.Declare) or frame.queue != "rpc_async_work":
            return None
        if not self.late:
            return (REFUSAL,)
        self.late -= 1
        self._stuck.append((connection, channel))
        return STUCK

    def answer(self) -> None:
        """Give the answer that is due, and not that of a declaration which came meanwhile."""
        connection, channel = self._stuck.pop(0)
        connection.stuck.discard(channel)
        connection.closing.add(channel)
        connection.send(channel, REFUSAL)


def _given_up(caplog: pytest.LogCaptureFixture) -> int:
    """Return how often a worker has stopped waiting for an answer."""
    return caplog.text.count("the broker does not answer for 'rpc_async_work'")


@pytest.mark.parametrize("late", [1, 2])
async def test_a_server_whose_queue_is_refused_late(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, late: int
) -> None:
    monkeypatch.setattr("rabibridge._transport.consumer_supervisor._SLOW_AFTER", 0.1)
    refusing = Refusing(late)
    async with Peer(refusing) as peer:
        server = RMQServer(url=peer.url)
        server.add_service(work, queue_size=7, queue_type="quorum")
        await soon(server.connect())  # the broker has not answered yet
        refusing.answer()
        running = asyncio.ensure_future(server.run_serve(signals=False))
        try:
            if late == 2:
                await until(lambda: _given_up(caplog) == 2)
                refusing.answer()
            with pytest.raises(ConfigurationError, match="queue_size is None on the broker, 7 here"):
                await soon(server.wait_serving())
        finally:
            server.stop()
            (end,) = await soon(asyncio.gather(running, return_exceptions=True))
            await soon(server.close())
        assert end is None or isinstance(end, ConfigurationError)  # None: it would have tried again and again


async def test_a_program_that_is_refused_late_is_ready_once_that_is_mended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rabibridge._transport.consumer_supervisor._SLOW_AFTER", 0.1)
    monkeypatch.setattr("rabibridge_core._hosting.program._LOOK", 0.05)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        told = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(manager, 1024))
        refusing = Refusing(2)
        async with Peer(refusing) as peer:
            server = RMQServer(url=peer.url)
            server.add_service(work, queue_size=7, queue_type="quorum")
            running = asyncio.ensure_future(serve_program(server))
            for times in (1, 2):
                await until(lambda: _given_up(caplog) == times)  # noqa: B023 - it is called at once
                refusing.answer()
            await until(lambda: "trying again in" in caplog.text)
            assert not told.done()
            refusing.mended = True
            assert b"READY=1" in await soon(told)
            server.stop()
            await soon(running)


async def test_a_server_whose_lifespan_fails() -> None:
    @asynccontextmanager
    async def lifespan(server: RMQServer) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        raise ValueError("there is no database")
        yield

    with fake_broker_context():
        server = RMQServer(lifespan=lifespan)
        server.add_service(work)
        await server.connect()
        running = asyncio.ensure_future(server.run_serve(signals=False))
        with pytest.raises(ValueError, match="there is no database"):
            await soon(server.wait_serving())
        with pytest.raises(ValueError, match="there is no database"):
            await running
        await server.close()


async def test_a_server_that_serves_again_after_it_has_failed() -> None:
    failing = True

    @asynccontextmanager
    async def lifespan(server: RMQServer) -> AsyncIterator[None]:
        if failing:
            raise ValueError("there is no database")
        yield

    with fake_broker_context():
        server = RMQServer(lifespan=lifespan)
        server.add_service(work)
        await server.connect()
        with pytest.raises(ValueError, match="there is no database"):
            await server.run_serve(signals=False)
        failing = False
        running = asyncio.ensure_future(server.run_serve(signals=False))
        await asyncio.sleep(0)
        await soon(server.wait_serving())
        server.stop()
        await soon(running)
        await server.close()
