"""Names and kinds of services that are not plain texts."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.errors import ConfigurationError
from tests.unit.client_support import reply, sent, turns

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from tests.unit.scripted_transport import ScriptedTransport


class Name(str, Enum):  # noqa: UP042 - its format differs from that of a StrEnum
    mul = "mul"
    ADD = "add"


class Kind(str, Enum):  # noqa: UP042 - the same
    SYNC = "sync"
    sync = "sync"


class Loud(str):
    def __str__(self) -> str:
        return super().upper()


async def _route(client: Client, transport: ScriptedTransport, name: Any, kind: Any = "async") -> str:
    before = len(transport.sent)
    call = asyncio.create_task(client.call(name, (), {}, (kind, None, False, None, False, True, None, None)))
    await turns(lambda: len(transport.sent) > before or call.done())
    if not call.done():
        client.calls.replied((await sent(transport))[-1], reply(None))
    await call
    return transport.sent[-1].routing_key


async def test_members_of_enumerations_are_their_text(client: Client, transport: ScriptedTransport) -> None:
    for _ in range(2):
        assert await _route(client, transport, Name.mul) == "async_mul"
        assert await _route(client, transport, "mul") == "async_mul"
        assert await _route(client, transport, Name.ADD, Kind.SYNC) == "sync_add"
        assert await _route(client, transport, "add", "sync") == "sync_add"
        assert await _route(client, transport, Loud("mul")) == "async_mul"


@pytest.mark.parametrize("name", [5, None, b"mul", ["mul"], {}, object], ids=lambda value: type(value).__name__)
async def test_what_is_no_text_is_refused(client: Client, transport: ScriptedTransport, name: Any) -> None:
    with pytest.raises(ConfigurationError):
        await _route(client, transport, name)
    with pytest.raises(ConfigurationError):
        await _route(client, transport, "mul", name)
    assert transport.sent == []
