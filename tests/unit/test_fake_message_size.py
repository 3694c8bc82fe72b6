"""fake_broker.max_message_size: what a program's own tests see of messages that the broker does not accept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rabibridge import ContentRejectedError, RemoteExecutionError, RMQClient
from rabibridge_core.transport import Reply
from rabibridge_testing import MemoryBroker
from rabibridge_testing.conformance import Inbox, Worker
from tests.unit.fake_support import QUEUE, connected, request

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker


async def test_calls_and_results_that_are_too_large(fake_broker: FakeBroker) -> None:
    ran: list[int] = []

    async def grow(body: bytes, size: int) -> bytes:
        ran.append(size)
        return os.urandom(size)

    fake_broker.add_service(grow)
    fake_broker.max_message_size = 1000
    async with RMQClient() as client:
        with pytest.raises(ContentRejectedError, match=r"the request takes 20.. bytes on the wire; the broker accepts"):
            await client.remote_call("grow", (os.urandom(2000), 0), timeout=30)
        with pytest.raises(RemoteExecutionError, match=r"the reply takes 20.. bytes on the wire") as failed:
            await client.remote_call("grow", (b"", 2000), timeout=30)
        assert failed.value.executed is True
        fake_broker.max_message_size = None
        assert len(await client.remote_call("grow", (b"", 2000), timeout=30)) == 2000
    assert ran == [2000, 2000]
    assert [call.outcome for call in fake_broker.calls] == ["refused", "error", "result"]
    assert isinstance(fake_broker.calls[0].error, ContentRejectedError)


async def test_the_second_reply_that_is_too_large_settles_the_request_without_one() -> None:
    broker, worker, inbox = MemoryBroker(max_message_size=100), Worker(), Inbox()
    transport = await connected(broker)
    await transport.serve(QUEUE, worker)
    (await transport.open_caller(inbox)).send(request(b"1"))
    got = await worker.next()
    got.reply(Reply(bytes(101), None, None))
    assert broker.queues[QUEUE.name].consumers == 1
    got.reply(Reply(bytes(101), None, None))
    with pytest.raises(RuntimeError, match="already settled"):
        got.discard()
    await transport.close()
    assert not broker.queues[QUEUE.name]
