"""What the tests of streams on the side of the caller share: a worker that the test plays, message by message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.options import CallOptions
from rabibridge_core._client.stream import Stream
from rabibridge_core._client.stream_opening import open_stream
from rabibridge_core._protocol.streams import part_context
from rabibridge_core.transport import Reply
from tests.unit.client_support import CODEC, PATIENCE, turns

if TYPE_CHECKING:
    from datetime import timedelta

    from rabibridge_core._client.client import Client
    from rabibridge_core._codec.codec import Codec
    from rabibridge_core.transport import Headers, Request
    from tests.unit.scripted_transport import ScriptedTransport


def stream(
    client: Client, *args: Any, idle_timeout: float | timedelta | None = None, adapt: Any = None, **options: Any
) -> Stream[Any]:
    chosen = CallOptions("any", **{"timeout": PATIENCE, **options})
    return Stream(open_stream(client, "report", "report", args, {}, chosen, idle_timeout), "report", adapt)


class Playing:
    """The worker of one request for a stream."""

    def __init__(self, client: Client, request: Request, *, address: str = "stream:a", codec: Codec = CODEC) -> None:
        self.client = client
        self.request = request
        self.address = address
        self.codec = codec
        self.index = int((request.headers or {}).get("rb-stream-start", 0))
        self._first = True

    def open(self, **headers: Any) -> Playing:
        self._part("open", Reply(b"", None, None), headers)
        return self

    def items(self, *items: Any, index: int | None = None, **headers: Any) -> Playing:
        first = self.index if index is None else index
        encoder = self.codec.items(None)
        encoded = [encoder.encode(item) for item in items]
        context = part_context(self.request.correlation_id, first)
        self._part("items", Reply(*encoder.join(encoded, context)), {"rb-index": first, **headers})
        self.index = first + len(items)
        return self

    def end(self, total: int | None = None, **headers: Any) -> None:
        own: Headers = {"rb-items": self.index if total is None else total, **_names(headers)}
        body = self.codec.encode([0, None], b"reply " + self.request.correlation_id)
        self.client.calls.replied(self.request.correlation_id, Reply(*body, own))

    def last(self, *items: Any, index: int | None = None, total: int | None = None, **headers: Any) -> None:
        """End it with a reply that holds the last items."""
        first = self.index if index is None else index
        encoder = self.codec.items(None)
        context = part_context(self.request.correlation_id, first)
        body = encoder.join([encoder.encode(item) for item in items], context)
        count = first + len(items) if total is None else total
        own: dict[str, Any] = {"rb-index": first, "rb-items": count}
        if self._first:
            own["rb-address"] = self.address
        self.client.calls.replied(self.request.correlation_id, Reply(*body, own | _names(headers)))

    def fails(self, kind: str = "execution", message: str = "broken", **headers: Any) -> None:
        own: Headers = {
            "rb-error": kind,
            "rb-error-type": "builtins.ValueError",
            "rb-error-message": message,
            **_names(headers),
        }
        body = self.codec.encode([1, "Traceback"], b"reply " + self.request.correlation_id)
        self.client.calls.replied(self.request.correlation_id, Reply(*body, own))

    def again(self, address: str) -> Playing:
        """Begin another run of the same request, on another worker."""
        return Playing(self.client, self.request, address=address, codec=self.codec)

    def _part(self, kind: str, reply: Reply, headers: dict[str, Any]) -> None:
        own: dict[str, Any] = {"rb-part": kind}
        if self._first:
            own["rb-address"] = self.address
            self._first = False
        own.update(_names(headers))
        self.client.calls.replied(self.request.correlation_id, reply._replace(headers=own))


def _names(headers: dict[str, Any]) -> dict[str, Any]:
    return {name if "-" in name else f"rb-{name.replace('_', '-')}": value for name, value in headers.items()}


async def asked(client: Client, transport: ScriptedTransport, count: int = 1, **options: Any) -> Playing:
    """Wait until so many requests were sent; return the worker of the last one."""
    await turns(lambda: len(transport.sent) >= count)
    return Playing(client, transport.sent[-1], **options)


async def read(source: Stream[Any], count: int) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(source) for _ in range(count)]


async def rest(source: Stream[Any]) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return [item async for item in source]


def credits_of(transport: ScriptedTransport) -> list[int]:
    """What was reported as consumed, in order."""
    return [int((fed.headers or {})["rb-index"]) for fed in transport.fed if (fed.headers or {})["rb-part"] == "credit"]
