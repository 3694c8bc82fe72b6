"""A channel of aiormq is closed once: a broker closes the connection for methods on a channel that it does not know."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands as spec

from tests.support.scripted_broker import Peer, PeerConnection, methods_of
from tests.support.sessions import connected
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge._connection.session import Session

_CHANNEL_ERROR = 504


def _late(connection: PeerConnection, channel: int, frame: Any) -> Any:
    """Answer the first ``channel.close`` when the test says so, and close the connection for a further one."""
    if not isinstance(frame, spec.Channel.Close):
        return None
    if len(methods_of(connection, spec.Channel.Close)) > 1:
        connection.send(0, spec.Connection.Close(_CHANNEL_ERROR, "CHANNEL_ERROR - expected 'channel.open'", 20, 40))
    return ()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer(_late) as peer:
        yield peer


@pytest.fixture
async def session(peer: Peer) -> AsyncIterator[Session]:
    session = await connected(peer.url)
    yield session
    await soon(session.close())


async def _use(session: Session) -> None:
    async with session.temporary_channel():
        pass


async def _open_again(peer: Peer, session: Session) -> None:
    """Answer the ``channel.close``, and see that the connection and its channels can be used."""
    (number,) = [channel for channel, frame in peer.connections[0].heard if isinstance(frame, spec.Channel.Close)]
    peer.connections[0].send(number, spec.Channel.CloseOk())
    await until(lambda: number not in session._amqp.channels)
    assert session.error is None
    channel = await soon(session.open_channel())
    await soon(channel.basic_qos(prefetch_count=1))
    assert session.error is None


async def test_who_is_cancelled_while_it_closes_a_channel_does_not_cost_the_connection(
    peer: Peer, session: Session
) -> None:
    using = asyncio.create_task(_use(session))
    await until(lambda: bool(methods_of(peer.connections[0], spec.Channel.Close)))
    using.cancel()
    await soon(asyncio.wait((using,)))
    assert using.cancelled()
    await _open_again(peer, session)


async def test_a_late_answer_does_not_cost_the_connection(
    peer: Peer, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rabibridge._connection.channel_closing._WAITED", 0.05)
    session._amqp.connection_tune.heartbeat = 0.05
    await soon(_use(session))
    await _open_again(peer, session)


async def test_a_channel_that_the_broker_does_not_close_ends_with_the_connection(peer: Peer, session: Session) -> None:
    using = asyncio.create_task(_use(session))
    await until(lambda: bool(methods_of(peer.connections[0], spec.Channel.Close)))
    peer.connections[0].writer.transport.abort()
    await soon(using)
    assert session.error is not None
