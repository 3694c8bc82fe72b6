"""One HTTP request whose work is cancelled when its browser goes away.

An ASGI server says that the browser has gone to whoever calls ``receive()`` then. So while the application works, a
task calls it, and keeps what else comes until the application asks for it: one message, so that an upload is still read
as slowly as the application reads. Polling ``request.is_disconnected()`` is no substitute: behind a BaseHTTPMiddleware
it stays false.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge._gateway.problems import problem_for
from rabibridge._gateway.statuses import CLIENT_CLOSED_REQUEST, Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

__all__ = ["Exchange", "exchanging", "send_problem"]

_GONE = problem_for(Answer(CLIENT_CLOSED_REQUEST, "cancelled", "The request was given up by its sender."))


class Exchange:
    """The messages of one request, and whether its browser is still there.

    Attributes:
        gone: the browser has gone away.
        cancelled: the task was cancelled for that.
        started: the response has begun.
        finished: the response is complete.
    """

    def __init__(self, receive: Receive, send: Send, task: asyncio.Task[Any]) -> None:
        """Pass messages on; ``task`` is cancelled when the browser goes away, once :meth:`watch` was called."""
        self.gone = self.cancelled = self.started = self.finished = False
        self._receive, self._send, self._task = receive, send, task
        self._watcher: asyncio.Task[None] | None = None
        self._message: Message | None = None
        self._reading = 0
        self._changed = asyncio.Event()

    def watch(self) -> None:
        """From now on, cancel the task when the browser goes away before the response is complete."""
        if self._watcher is None and not self.finished:
            self._watcher = asyncio.create_task(self._watch())

    async def receive(self) -> Message:
        """Return the next message; instead of the server's ``receive``."""
        if self._watcher is None:
            self._reading += 1
            try:
                return await self._receive()
            finally:
                self._reading -= 1
                self._wake()
        while self._message is None and not self.gone and not self.finished and not self._watcher.done():
            await self._changed.wait()
        message, self._message = self._message, None
        self._wake()
        return {"type": "http.disconnect"} if message is None else message

    async def send(self, message: Message) -> None:
        """Send a message; instead of the server's ``send``."""
        kind = message["type"]
        self.started = self.started or kind == "http.response.start"
        last = kind == "http.response.pathsend" or (kind == "http.response.body" and not message.get("more_body"))
        if last:  # whatever follows, such as background tasks, is not for the browser
            self.finished = True
            self._wake()
        await self._send(message)

    async def close(self) -> None:
        """Stop watching."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    async def _watch(self) -> None:
        try:
            while self._reading:
                await self._changed.wait()
            while not self.finished:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    break
                self._message = message
                self._wake()
                while message.get("more_body") and self._message is not None:
                    await self._changed.wait()
            if not self.finished:
                self.gone = self.cancelled = True
                self._task.cancel("the browser has gone away")
        finally:
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


async def exchanging(exchange: Exchange, work: Awaitable[None], task: asyncio.Task[Any], send: Send) -> None:
    """Await the work for a request; if it is cancelled because the browser has gone away, end quietly."""
    before = task.cancelling()
    try:
        await work
    except asyncio.CancelledError:
        if not exchange.cancelled or task.uncancel() > before:
            raise
        if not exchange.started:  # the server drops it; logs and middleware around see it
            await send_problem(send, _GONE.status, _GONE.encode(), _GONE.headers)
    except BaseException:
        if exchange.cancelled:
            task.uncancel()
        raise
    else:
        if exchange.cancelled:
            task.uncancel()
    finally:
        await exchange.close()


async def send_problem(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    """Send a whole response."""
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
