"""Server-sent events: the text of each, and a stream of them as an ASGI response."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rabibridge._gateway.json_text import to_json
from rabibridge._gateway.problems import Problem, problem_for
from rabibridge._gateway.statuses import Answer
from rabibridge_core.errors import RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable

    from rabibridge._gateway.exchange import Send
    from rabibridge_core._protocol.progress import Progress

__all__ = [
    "EVENT_HEADERS",
    "LAST",
    "EventSender",
    "NotReadingError",
    "ServerEvent",
    "encode_event",
    "end_event",
    "progress_of",
]

LAST = "end"
"""The id of the last event. A browser that connects again with it has everything, and is told not to."""
EVENT_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would collect the events
}
"""The headers of a response of server-sent events."""


class NotReadingError(Exception):
    """The browser has not taken an event for too long."""


@dataclass(frozen=True)
class ServerEvent:
    """One event with a name of its own; a stream of a gateway may hold such beside plain items.

    Attributes:
        data: is sent as JSON.
        event: its name; ``None``: that of the response.
        id: what the browser tells in ``Last-Event-ID`` if it connects again; ``None``: none.
    """

    data: Any
    event: str | None = None
    id: str | None = None


def encode_event(data: str, event: str | None = None, id: str | None = None, retry: float | None = None) -> bytes:
    """Return one event as bytes.

    Args:
        data: its text, which may have several lines.
        event: its name; ``None``: ``message``.
        id: its id; ``None``: none.
        retry: after how many seconds the browser connects again; ``None``: it says nothing.

    Raises:
        ValueError: the name or the id has a line break, or the id has NUL.
    """
    lines = []
    for name, value in (("event", event), ("id", id)):
        if value is not None:
            if "\n" in value or "\r" in value or "\0" in value:
                raise ValueError(f"the {name} of an event must be one line; it is {value[:80]!r}")
            lines.append(f"{name}: {value}")
    if retry is not None:
        lines.append(f"retry: {round(1000 * retry)}")
    lines += [f"data: {line}" for line in data.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return ("\n".join(lines) + "\n\n").encode()


def end_event(event: str, data: Any) -> bytes:
    """Return the last event of a stream, which says how it has ended."""
    return encode_event(to_json(data), event, LAST)


async def progress_of(start: Callable[[Callable[[Progress], None]], Any]) -> AsyncIterable[ServerEvent]:
    """Yield the reports of progress of a call as events, and its result as the last one; see the public module."""
    newest: list[Progress] = []
    changed = asyncio.Event()

    def report(progress: Progress) -> None:
        newest[:] = [progress]  # a browser that reads slowly gets the newest
        changed.set()

    async def call() -> Any:
        return await start(report)

    calling = asyncio.create_task(call())
    calling.add_done_callback(lambda _: changed.set())
    try:
        while not calling.done() or newest:
            await changed.wait()
            changed.clear()
            if newest:
                progress = newest.pop()
                yield ServerEvent({"fraction": progress.fraction, "text": progress.text}, "progress")
        yield ServerEvent(await calling, "result")
    finally:
        calling.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await calling


class EventSender:
    """Sends the events of one response, one at a time, and comments while there is none.

    The response begins with the first event, or after ``start_within`` seconds: what fails before that has an HTTP
    status of its own. An event is taken only when the one before it was accepted by the socket, so that a browser that
    reads slowly stops the function.
    """

    def __init__(
        self, send: Send, *, event: str | None, retry: float | None, keep_alive: float, send_timeout: float,
        start_within: float, headers: dict[str, str],
    ) -> None:  # fmt: skip
        """Send nothing yet; the public module describes the arguments."""
        self.started = False
        self._send, self._event, self._retry = send, event, retry
        self._keep_alive, self._send_timeout, self._start_within = keep_alive, send_timeout, start_within
        self._headers = {**EVENT_HEADERS, **headers}
        self._lock = asyncio.Lock()
        self._sent_at = 0.0

    async def run(
        self, items: AsyncIterable[Any], first: int, numbered: bool, failed: Callable[[RabiBridgeError], Problem]
    ) -> None:
        """Send the items, and how it has ended.

        Args:
            items: the items.
            first: the number of the item before the first one.
            numbered: whether items have their number as id.
            failed: makes the problem of an error.

        Raises:
            RabiBridgeError: nothing was sent yet.
            NotReadingError: the browser has not read for ``send_timeout``.
            Exception: what the iterator has raised; if the response has begun, the browser was told.
        """
        beside = asyncio.create_task(self._comments())
        number = first
        try:
            async for item in items:
                number += 1
                if isinstance(item, ServerEvent):
                    data = encode_event(to_json(item.data), item.event or self._event, item.id)
                else:
                    data = encode_event(to_json(item), self._event, str(number) if numbered else None)
                await self._write(data)
            await self._end("end", {"received": number - first})
        except RabiBridgeError as error:
            if not self.started:
                raise
            await self._end("error", failed(error).body)
        except NotReadingError:
            raise
        except Exception:
            if self.started:
                await self._end("error", problem_for(Answer(500, "error", "The request failed.")).body)
            raise
        finally:
            beside.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await beside

    async def _end(self, event: str, data: Any) -> None:
        await self._write(end_event(event, data))
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _comments(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._start_within)
        if not self.started:
            await self._write(b": waiting\n\n")
        while True:
            idle = loop.time() - self._sent_at
            if idle < self._keep_alive:
                await asyncio.sleep(self._keep_alive - idle)
            else:
                await self._write(b": still here\n\n")

    async def _write(self, data: bytes) -> None:
        async with self._lock:
            try:
                async with asyncio.timeout(self._send_timeout):
                    await self._send_all(data)
            except TimeoutError:
                raise NotReadingError from None
        self._sent_at = asyncio.get_running_loop().time()

    async def _send_all(self, data: bytes) -> None:
        if not self.started:
            self.started = True
            raw = [(name.lower().encode(), value.encode()) for name, value in self._headers.items()]
            await self._send({"type": "http.response.start", "status": 200, "headers": raw})
            if self._retry is not None:
                data = f"retry: {round(1000 * self._retry)}\n\n".encode() + data
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
