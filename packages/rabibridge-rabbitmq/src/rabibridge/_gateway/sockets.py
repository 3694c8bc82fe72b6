"""WebSockets: items to the browser, an upload from it, and the outcome as the code with which it is closed."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from rabibridge._gateway.json_text import to_json
from rabibridge_core.errors import RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable

    from rabibridge._gateway.exchange import Message, Receive, Send
    from rabibridge._gateway.problems import Problem

__all__ = ["BrowserSocket", "browser_socket"]

_READ_AHEAD = 16
"""Messages of the browser that are kept until somebody reads them. The server holds back what comes beyond."""
_DONE, _FAILED, _STATUS = 1000, 1011, 4000


class BrowserSocket:
    """One WebSocket whose browser gets the items of a stream, and may feed an argument."""

    def __init__(self, receive: Receive, send: Send, task: asyncio.Task[Any]) -> None:
        """Made by ``gateway.websocket``."""
        self.gone = self.cancelled = False
        self._receive, self._send, self._task = receive, send, task
        self._messages: deque[Message] = deque()
        self._changed = asyncio.Event()

    async def send(self, item: Any) -> None:
        """Send one item: bytes as a binary message, anything else as JSON in a text message."""
        if isinstance(item, bytes | bytearray):
            await self._send({"type": "websocket.send", "bytes": bytes(item)})
        else:
            await self._send({"type": "websocket.send", "text": to_json(item)})

    async def send_all(self, items: AsyncIterable[Any]) -> None:
        """Send the items of a stream, each when the one before it was accepted, and close the stream in any case."""
        try:
            async for item in items:
                await self.send(item)
        finally:
            if (close := getattr(items, "aclose", None)) is not None:
                await close()

    async def messages(self) -> AsyncIterator[Any]:
        """Yield what the browser sends: text messages as their JSON, binary ones as bytes; an empty text is the end.

        Give it to a call as the argument that is fed: the browser is read as fast as the function reads.

        Raises:
            ValueError: a text message is not JSON.
        """
        while True:
            while not self._messages:
                if self.gone:
                    raise ConnectionError("the browser has gone away in the middle of its upload")
                await self._changed.wait()
            message = self._messages.popleft()
            self._wake()
            text, data = message.get("text"), message.get("bytes")
            if text == "" or (text is None and not data):
                return
            yield json.loads(text) if text is not None else data

    async def read(self) -> None:
        """Read messages until the browser goes away, and cancel the task then."""
        try:
            while True:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    break
                self._messages.append(message)
                self._wake()
                while len(self._messages) >= _READ_AHEAD:
                    await self._changed.wait()
            self.gone = self.cancelled = True
            self._task.cancel("the browser has gone away")
        finally:
            self._wake()

    async def close(self, code: int, reason: str = "") -> None:
        """Close it, unless the browser has gone."""
        if not self.gone:
            with suppress(RuntimeError, OSError):  # it goes at this moment
                await self._send({"type": "websocket.close", "code": code, "reason": reason})

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


@asynccontextmanager
async def browser_socket(
    receive: Receive, send: Send, failed: Callable[[RabiBridgeError], Problem]
) -> AsyncIterator[BrowserSocket]:
    """Give a socket that is accepted already, and close it at the end of the block, with a code that says how it went.

    Args:
        receive: the ``receive`` of the server.
        send: its ``send``.
        failed: makes the problem of an error.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    socket = BrowserSocket(receive, send, task)
    reading = asyncio.create_task(socket.read())
    try:
        yield socket
        await socket.close(_DONE)
    except asyncio.CancelledError:
        if not socket.cancelled or task.uncancel() > before:
            raise
    except RabiBridgeError as error:
        problem = failed(error)
        await socket.close(_STATUS + problem.status, problem.body["code"])
    except BaseException:
        await socket.close(_FAILED, "error")
        raise
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await reading
