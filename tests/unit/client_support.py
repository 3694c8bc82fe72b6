"""What the tests of the client engine share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.client import Client
from rabibridge_core._client.options import CallOptions
from rabibridge_core._codec.codec import Codec
from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from rabibridge_core.transport import Headers
    from tests.unit.scripted_transport import ScriptedTransport

PATIENCE = 90.0
CODEC = Codec()
IDEMPOTENT = {"rb-idempotent": True}
GONE = ConnectionLostError("the cable was cut")


def make_client(
    transport: ScriptedTransport, *, codec: Codec = CODEC, hooks: CallHooks | None = None, **options: Any
) -> Client:
    return Client(transport, codec, hooks=hooks or CallHooks(), name="client", **options)


def begin(client: Client, *args: Any, timeout: float | timedelta | None = None, **options: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(client.call("work", args, {}, CallOptions(timeout=timeout, **options)))


async def sent(transport: ScriptedTransport, count: int = 1) -> list[bytes]:
    """Wait until so many requests were sent; return the ids of the last ones."""
    await turns(lambda: len(transport.sent) >= count)
    transport.taken = len(transport.sent)
    return [request.correlation_id for request in transport.sent[-count:]]


async def turns(until: Callable[[], bool] | None = None) -> None:
    """Let the loop turn until the condition holds, or, without one, until nothing that is ready is left to run."""
    async with asyncio.timeout(PATIENCE):
        if until is None:
            for _ in range(20):
                await asyncio.sleep(0)
            return
        while not until():  # noqa: ASYNC110 - a few turns of the loop, which nothing announces
            await asyncio.sleep(0)


def lose(client: Client, transport: ScriptedTransport, *unconfirmed: bytes) -> None:
    """Lose the connection before the broker has confirmed the calls of these ids."""
    transport.pause("no connection: the cable was cut")
    client.calls.lost(GONE, unconfirmed)


def reply(value: Any, code: int = 0, headers: Headers | None = None) -> Reply:
    return Reply(*CODEC.encode([code, value], b""), headers)
