"""What the tests of uploads on the side of the caller share."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.options import CallOptions
from rabibridge_core._client.stream_opening import call_with_upload
from rabibridge_core._client.upload_arguments import find_upload
from rabibridge_core._protocol.streams import decode_items, feed_context
from rabibridge_core.transport import Reply
from tests.unit.client_support import CODEC, PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rabibridge_core._client.client import Client
    from tests.unit.scripted_transport import ScriptedTransport
    from tests.unit.stream_support import Playing

WINDOW = {"window": "2,1048576"}
OTHER: contextvars.ContextVar[str] = contextvars.ContextVar("OTHER", default="")


class Source:
    """An async generator that notes what becomes of it."""

    def __init__(self, *items: Any, error: BaseException | None = None, endless: bool = False) -> None:
        self.items, self.error, self.endless = items, error, endless
        self.drawn = 0
        self.closed = asyncio.Event()
        self.tasks: set[Any] = set()

    async def run(self) -> AsyncGenerator[Any]:
        self.tasks.add(asyncio.current_task())
        try:
            for item in self.items:
                self.drawn += 1
                yield item
                await asyncio.sleep(0)
            if self.error is not None:
                raise self.error
            if self.endless:
                await asyncio.Event().wait()
        finally:
            self.tasks.add(asyncio.current_task())
            self.closed.set()


def begin(client: Client, *args: Any, **options: Any) -> asyncio.Task[Any]:
    chosen = CallOptions("any", **{"timeout": PATIENCE, **options})
    found = find_upload(args, {})
    assert found is not None
    return asyncio.create_task(call_with_upload(client, "report", "report", found, chosen))


def fed(transport: ScriptedTransport, codec: Any = CODEC) -> list[Any]:
    """Return what was sent to the worker: lists of items, and (kind, index) of everything else."""
    found: list[Any] = []
    for request in transport.fed:
        headers = request.headers or {}
        if headers["rb-part"] == "items":
            index = int(headers["rb-index"])
            message = Reply(request.body, request.content_type, request.content_encoding)
            found.append((index, decode_items(codec, message, feed_context(request.correlation_id, index))))
        else:
            found.append((headers["rb-part"], headers.get("rb-index")))
    return found


def grant(worker: Playing, consumed: int) -> None:
    worker._part("credit", Reply(b"", None, None), {"rb-index": consumed})
