"""What the broker refuses for good: which of the calls that it has not confirmed end, and how."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core.errors import ConfigurationError, ContentRejectedError
from tests.unit.client_support import begin, reply, sent, turns

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from tests.unit.scripted_transport import ScriptedTransport

FORBIDDEN = ConfigurationError("the user may not write to 'async_work'")


def _other(client: Client) -> asyncio.Task[Any]:
    return asyncio.create_task(client.call("other", (), {}, CallOptions(timeout=None)))


async def _answered(client: Client, transport: ScriptedTransport, calls: dict[bytes, asyncio.Task[Any]]) -> None:
    """Check that these calls go on, and get their results."""
    assert client.pending == len(calls)
    for number, (correlation_id, call) in enumerate(calls.items()):
        assert not call.done()
        client.calls.replied(correlation_id, reply(number))
        assert await call == number


async def test_a_routing_key_that_the_user_may_not_send_to(client: Client, transport: ScriptedTransport) -> None:
    refused, confirmed, answered, other = begin(client), begin(client), begin(client), _other(client)
    ids = await sent(transport, 4)
    client.calls.replied(ids[2], reply("in time"))
    client.calls.not_permitted("async_work", FORBIDDEN, [b"unknown", ids[0], ids[2], ids[3]])
    with pytest.raises(ConfigurationError, match="call of 'work': the user may not write to 'async_work'"):
        await refused
    assert await answered == "in time"
    await turns()
    await _answered(client, transport, {ids[1]: confirmed, ids[3]: other})


@pytest.mark.parametrize("more", [0, -1], ids=["as large as the limit", "larger"])
async def test_a_request_that_is_larger_than_the_broker_accepts(
    client: Client, transport: ScriptedTransport, more: int
) -> None:
    small, large, confirmed = begin(client, b""), begin(client, b"x" * 1000), begin(client, b"x" * 1000)
    ids = await sent(transport, 3)
    size = len(transport.sent[1].body)
    client.calls.too_large(size + more, [b"unknown", ids[0], ids[1]])
    if more:
        with pytest.raises(ContentRejectedError, match=rf"call of 'work': .* {size} bytes.* {size - 1}") as raised:
            await large
        assert raised.value.executed is False
        await turns()
        await _answered(client, transport, {ids[0]: small, ids[2]: confirmed})
    else:
        await turns()
        await _answered(client, transport, {ids[0]: small, ids[1]: large, ids[2]: confirmed})


async def test_one_that_has_its_reply_is_not_refused(client: Client, transport: ScriptedTransport) -> None:
    call = begin(client, b"x" * 1000)
    (correlation_id,) = await sent(transport)
    client.calls.replied(correlation_id, reply("in time"))
    client.calls.too_large(1, [correlation_id])
    assert await call == "in time"
