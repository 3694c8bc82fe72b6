"""What a request carries on the wire, as another program reads it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import until_true

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge import RMQClient
    from tests.rabbitmq.support import Stage


async def _next(raw: Any, queue: str) -> Any:
    """Return the next message of a queue."""
    found: list[Any] = []

    async def look() -> bool:
        message = await raw.basic_get(queue, no_ack=True)
        found.append(message)
        return message.delivery_tag is not None

    await until_true(look)
    return found[-1]


async def _direct_client(stage: Stage) -> RMQClient:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RABIBRIDGE_DIRECT_REPLY", "true")
        return await stage.client()


async def test_what_a_request_carries_on_the_wire(
    stage: Stage, raw: Any, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABIBRIDGE_CALL_TIMEOUT", "none")
    name = unique_name("nobody")
    queue = (await raw.queue_declare("", exclusive=True)).queue
    client, direct = await stage.client(), await _direct_client(stage)
    await raw.queue_bind(queue, "rpc", f"async_{name}")
    for caller, persistent, headers, mode in [
        (client, False, {"rb-probe": True}, None),
        (client, True, {"rb-probe": True}, 2),
        (direct, True, None, 2),
        (direct, False, None, None),
    ]:
        call = asyncio.create_task(caller.remote_call(name, persistent=persistent))
        letter = await _next(raw, queue)
        assert letter.header.properties.headers == headers
        assert letter.header.properties.delivery_mode == mode
        call.cancel()
    call = asyncio.create_task(client.remote_call(name, timeout=600.0, persistent=True, idempotency_key="k"))
    properties = (await _next(raw, queue)).header.properties
    assert properties.headers["rb-key"] == "k"
    assert properties.headers.keys() == {"rb-key", "rb-names-user", "rb-timeout", "rb-deadline"}
    assert properties.user_id == client.settings.endpoints[0].username
    assert properties.delivery_mode == 2
    call.cancel()
