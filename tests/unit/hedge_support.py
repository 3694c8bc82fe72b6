"""What the tests of calls with a second copy share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge import Hedge
from rabibridge_core._client.options import CallOptions
from rabibridge_core._client.rare_options import RareOptions

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_core.transport import Headers
    from tests.unit.scripted_transport import ScriptedTransport

SOON = Hedge(after=0.001, ratio=1.0)


def begin(client: Client, policy: Hedge = SOON, *, headers: Headers | None = None, **options: Any) -> asyncio.Task[Any]:
    chosen = CallOptions(**{"idempotent": True, "headers": RareOptions(headers, None, policy), **options})
    return asyncio.create_task(client.call("work", (), {}, chosen))


async def both(transport: ScriptedTransport) -> tuple[bytes, bytes]:
    """Wait until the second copy is sent; return the ids."""
    while len(transport.sent) < 2:  # noqa: ASYNC110 - the timer of the call is what is waited for
        await asyncio.sleep(0.001)
    first, second = transport.sent[-2:]
    return first.correlation_id, second.correlation_id


async def a_while() -> None:
    """Let far more time pass than the second copy is due after."""
    await asyncio.sleep(0.05)
