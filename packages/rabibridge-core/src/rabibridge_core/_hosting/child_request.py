"""A request as a child process has it: with everything that the worker told, and settled by an answer to the worker."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from rabibridge_core._observability.progress import ProgressSender
from rabibridge_core._protocol.headers import ERROR_KIND
from rabibridge_core._server.settlement import RequestSettler

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core.transport import Headers, Reply

__all__ = ["ChildProgress", "ChildRequest", "ChildSettler"]

_INTERVAL = 0.005
"""Shortest time between two reports to the worker, in seconds."""


class ChildRequest:
    """An :class:`rabibridge_core.transport.IncomingRequest` in a child process."""

    def __init__(self, fields: dict[str, Any], body: bytes) -> None:
        """Read what the worker has sent."""
        self.body = body
        self.caller: bytes = fields["caller"]
        self.reply_address = self.caller
        self.user: str = fields["user"]
        self.correlation_id: bytes = fields["correlation_id"]
        self.content_type: str | None = fields["content_type"]
        self.content_encoding: str | None = fields["content_encoding"]
        self.headers: Headers = fields["headers"]
        self.redelivered: bool = fields["redelivered"]
        self.deliveries: int = fields["deliveries"]
        self.persistent: bool = fields["persistent"]
        self.time_left: float | None = fields["time_left"]
        self.wants_reply: bool = fields["wants_reply"]
        self.deadline = None
        self.void = False
        self.address = ""
        self.answer: dict[str, Any] = {"kind": "discard"}
        """What to tell the worker."""
        self.answer_body = b""

    def reply(self, reply: Reply, /) -> None:
        """Let the worker send a reply."""
        body, content_type, content_encoding, headers = reply
        self.answer = {
            "kind": "reply",
            "content_type": content_type,
            "content_encoding": content_encoding,
            "headers": dict(headers or {}),
        }
        self.answer_body = body

    def reply_part(self, reply: Reply, /) -> asyncio.Future[None] | None:
        """Send nothing: a child process gives one reply."""
        return None

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        """Let the worker move the request to the dead-letter queue."""
        self.answer, self.answer_body = {"kind": "discard", "reason": reason}, b""

    def discard(self) -> None:
        """Let the worker settle the request without a reply."""
        self.answer, self.answer_body = {"kind": "discard"}, b""

    def reject(self, *, requeue: bool) -> None:
        """Let the worker settle the request: what is requeued, it decides itself."""
        self.discard()

    def accept(self) -> None:
        """Do nothing: the worker has done it."""

    def probe(self) -> None:
        """Do nothing: the worker does it."""


class ChildSettler(RequestSettler):
    """Tells the worker of every failure, also of those that no caller is told of, which wants no reply."""

    __slots__ = ()

    def _send(self, active: ActiveRequest, reply: Reply) -> None:
        super()._send(active, reply)
        request = active.request
        if not request.wants_reply and reply.headers and ERROR_KIND in reply.headers:
            assert isinstance(request, ChildRequest)
            request.answer["failure"] = dict(reply.headers)


class ChildProgress(ProgressSender):
    """Sends the reports of one call to the worker, at once: a function that computes lets no event loop run."""

    __slots__ = ("_last", "_tell")

    def __init__(
        self, request: ChildRequest, loop: asyncio.AbstractEventLoop, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        """Send by ``tell``."""
        super().__init__(request, loop)
        self._tell = tell
        self._last = 0.0

    def report(self, fraction: float | None, text: str) -> None:
        """Send a report, unless one was sent just now."""
        now = monotonic()
        if now - self._last >= _INTERVAL:
            self._last = now
            told = text[:1024].encode("utf-8", "backslashreplace").decode()
            with suppress(OSError):  # the worker is gone, and so is whoever wants to know
                self._tell({"kind": "progress", "fraction": fraction, "text": told})
