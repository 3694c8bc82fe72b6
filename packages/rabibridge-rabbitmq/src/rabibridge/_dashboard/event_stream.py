"""Server-sent events: the newest state for every open page, and never a queue of old ones.

A page that reads slowly, or no longer at all, gets the newest state when it reads again. What it has missed is gone:
there is no replay. A page that takes nothing for a while is dropped, and asks again when it is alive; its first event
has everything.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message, Receive, Scope, Send

__all__ = ["EventStream", "Publisher"]

_SEND_TIMEOUT = 30.0
"""Seconds that a page may take to accept one event before it is dropped."""
_KEEP_ALIVE = 15.0
"""Seconds after which an empty line is sent where nothing has changed, so that proxies keep the connection."""
MAX_STREAMS = 100
"""Pages that may be open at once. Each costs a connection and one state."""


class Publisher:
    """The newest state, and who waits for the next one."""

    def __init__(self) -> None:
        self.number = 0
        self.latest: dict[str, Any] | None = None
        self.streams = 0
        self.closed = asyncio.Event()
        """Set when no state will follow: all streams end."""
        self._changed = asyncio.Event()

    def publish(self, state: dict[str, Any]) -> None:
        """Make ``state`` the newest one."""
        self.number += 1
        self.latest = state
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def newer_than(self, number: int) -> None:
        """Wait until there is a state after the one with this number."""
        while self.number <= number:
            await self._changed.wait()


class Watched(Protocol):
    """What the events tell of."""

    publisher: Publisher

    def everything(self) -> dict[str, Any]:
        """Return what a page needs when it opens: the newest state, and the history of the plots."""
        ...


class EventStream:
    """One response of server-sent events, as an ASGI application.

    Args:
        watched: what the events tell of.
        opened: called when a page has connected; returns what to call when it has gone.
    """

    def __init__(self, watched: Watched, opened: Callable[[], Callable[[], None]]) -> None:
        self._watched = watched
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        publisher = self._watched.publisher
        if publisher.streams >= MAX_STREAMS:
            await send({"type": "http.response.start", "status": 503, "headers": [(b"retry-after", b"30")]})
            await send({"type": "http.response.body", "body": b"Too many pages are open.\n"})
            return
        publisher.streams += 1
        gone = self._opened()
        sending = asyncio.create_task(self._send(send))
        tasks = (sending, asyncio.create_task(_disconnected(receive)), asyncio.create_task(publisher.closed.wait()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            publisher.streams -= 1
            gone()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        if publisher.closed.is_set() and not isinstance(results[0], TimeoutError | OSError):
            await send({"type": "http.response.body"})
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, TimeoutError | OSError):
                raise result

    async def _send(self, send: Send) -> None:
        publisher = self._watched.publisher
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await publisher.newer_than(0)
        number = publisher.number
        await _write(send, _event("everything", self._watched.everything()))
        while True:
            try:
                async with asyncio.timeout(_KEEP_ALIVE):
                    await publisher.newer_than(number)
            except TimeoutError:
                await _write(send, b": still here\n\n")
                continue
            number = publisher.number
            await _write(send, _event("state", publisher.latest or {}))


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'), allow_nan=False)}\n\n".encode()


async def _write(send: Send, data: bytes) -> None:
    message: Message = {"type": "http.response.body", "body": data, "more_body": True}
    async with asyncio.timeout(_SEND_TIMEOUT):
        await send(message)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
