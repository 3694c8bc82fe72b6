"""Server-sent events as a response of Starlette; :mod:`rabibridge.contrib.starlette` offers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from starlette.requests import Request
from starlette.responses import Response

from rabibridge._gateway.core import GatewayCore
from rabibridge._gateway.events import LAST, EventSender, NotReadingError, ServerEvent, progress_of
from rabibridge_core.rpc import Stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Mapping

    from starlette.types import Receive, Scope, Send

    from rabibridge_core._protocol.progress import Progress

__all__ = ["SSEResponse", "progress_events"]


class SSEResponse(Response):
    """A stream as server-sent events, which ``EventSource`` in a browser reads.

    Each item is an event whose data is its JSON, and whose id is its number. Two events of other names end it: ``end``,
    or ``error`` with problem details as its data; their id is ``end``, and a browser that connects again after them, as
    ``EventSource`` does by itself, gets 204, which stops it. One that has lost its connection in the middle names the
    last item that it has got: a function that is registered with ``resumable=True`` goes on with the next one, and any
    other one refuses with 422.

    What fails before the first event has an HTTP status of its own, within ``start_within``. A browser that reads
    slowly stops the function; one that goes away ends the stream.

    Args:
        stream: the stream, such as ``rpc.stream(report, 2024)``, or any async iterable. Its items may be
            :class:`ServerEvent`, with names and ids of their own.
        event: the name of the events of items; ``None``: ``message``.
        retry: after how many seconds the browser connects again; ``None``: as it likes.
        keep_alive: after how many seconds without an event a comment is sent, so that proxies keep the connection.
        send_timeout: how long a browser may take to accept an event, in seconds. Then the stream is closed.
        start_within: after how many seconds the response begins if there is no item yet.
        headers: further headers of the response.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        stream: AsyncIterable[Any],
        *,
        event: str | None = None,
        retry: float | None = None,
        keep_alive: float = 15.0,
        send_timeout: float = 60.0,
        start_within: float = 1.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(headers=headers)
        self.status_code = 200
        self._stream = stream
        self._further = dict(headers or {})
        self._options: Any = {
            "event": event,
            "retry": retry,
            "keep_alive": keep_alive,
            "send_timeout": send_timeout,
            "start_within": start_within,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events, as an ASGI application."""
        request = Request(scope, receive)
        last = request.headers.get("last-event-id", "")
        if last == LAST:
            await _close(self._stream)
            await Response(status_code=204)(scope, receive, send)
            return
        known = GatewayCore.request(scope)
        known.streams()
        if known.exchange is not None:
            known.exchange.watch()
        first = 0
        numbered = isinstance(self._stream, Stream)
        if isinstance(self._stream, Stream) and last.isascii() and last.isdigit() and len(last) < 19:
            first = int(last)
            self._stream.begin_at(first)
        core: GatewayCore = known.gateway
        sender = EventSender(cast("Any", send), headers=self._further | _set(self), **self._options)
        try:
            await sender.run(
                self._stream, first, numbered, lambda error: core.problem(error, f"events of {scope['path']}")
            )
        except NotReadingError:
            return  # the server closes the connection, as the response is not complete
        finally:
            await _close(self._stream)
        if self.background is not None:
            await self.background()


def progress_events(start: Callable[[Callable[[Progress], None]], Awaitable[Any]]) -> AsyncIterable[ServerEvent]:
    """Return the events of one call, for :class:`SSEResponse`: ``progress``, as often as reported, then ``result``.

    Example::

        SSEResponse(progress_events(lambda report: rpc.options(on_progress=report).call(render, 5)))

    Args:
        start: makes the call; it gets a function that takes reports of progress.
    """
    return progress_of(start)


async def _close(stream: AsyncIterable[Any]) -> None:
    if (close := getattr(stream, "aclose", None)) is not None:
        await close()


def _set(response: Response) -> dict[str, str]:
    """Return the headers that somebody has set on a response, such as cookies; not those that Starlette sets itself."""
    return {name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")}
