"""A control request, as one of the workers received it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_testing._memory.messages import caller_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.transport import Headers, Reply
    from rabibridge_testing._memory.messages import Message

__all__ = ["ControlDelivery"]

_NO_HEADERS: Headers = {}


class ControlDelivery:
    """A ``ControlRequest`` of the transport protocol."""

    __slots__ = (
        "_message", "_send", "body", "content_encoding", "content_type", "correlation_id", "headers", "reply_address",
        "user",
    )  # fmt: skip

    def __init__(self, message: Message, send: Callable[[Message, Reply], None]) -> None:
        """Deliver ``message``, and answer it by ``send``."""
        request = message.request
        self._message = message
        self._send = send
        self.body = request.body
        self.content_type: str | None = request.content_type
        self.content_encoding = request.content_encoding
        self.correlation_id = request.correlation_id
        self.headers = request.headers or _NO_HEADERS
        self.user = message.user
        self.reply_address = caller_name(message.reply_to)

    def reply(self, reply: Reply, /) -> None:
        """Send the answer."""
        self._send(self._message, reply)
