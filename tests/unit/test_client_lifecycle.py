"""Connecting and closing a client, also at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import ConnectionLostError
from tests.unit.client_support import PATIENCE, begin, make_client, sent

if TYPE_CHECKING:
    from tests.unit.scripted_transport import ScriptedTransport


async def test_closing(transport: ScriptedTransport) -> None:
    client = make_client(transport)
    await client.connect()
    pending = begin(client)
    await sent(transport)
    transport.paused = True
    waiting = begin(client)
    await asyncio.sleep(0)  # let it begin to wait
    await client.close()
    for call, executed in ((pending, None), (waiting, False)):
        with pytest.raises(ConnectionLostError) as lost:
            await call
        assert lost.value.executed is executed
    await client.close()
    assert transport.closes == 1
    with pytest.raises(ConnectionLostError, match="closed"):
        await client.connect()


async def test_connecting(transport: ScriptedTransport) -> None:
    client = make_client(transport)
    with pytest.raises(ConnectionLostError, match="connect"):
        await begin(client)
    transport.connecting.clear()
    first, second = asyncio.create_task(client.connect()), asyncio.create_task(client.connect())
    await asyncio.sleep(0)  # let them begin
    first.cancel()  # who gives up does not take the other along
    transport.connecting.set()
    await second
    await client.connect()
    assert transport.connects == 1
    await client.close()


async def test_closing_while_connecting(transport: ScriptedTransport) -> None:
    client = make_client(transport)
    transport.connecting.clear()
    connecting = asyncio.create_task(client.connect())
    await asyncio.sleep(0)  # let it begin
    async with asyncio.timeout(PATIENCE):
        await client.close()
        await asyncio.gather(connecting, return_exceptions=True)
    assert transport.closes == 1
    with pytest.raises(ConnectionLostError):
        await begin(client)
