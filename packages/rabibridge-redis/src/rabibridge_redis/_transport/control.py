"""A control request, as one of the workers received it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.transport import Reply
    from rabibridge_redis._resp.wire import Envelope

__all__ = ["ControlDelivery"]


class ControlDelivery:
    """A ``ControlRequest`` of the transport protocol."""

    __slots__ = (
        "_send", "body", "content_encoding", "content_type", "correlation_id", "headers", "reply_address",
    )  # fmt: skip

    user = ""

    def __init__(self, envelope: Envelope, body: bytes, send: Callable[[bytes, bytes, Reply], None]) -> None:
        """Deliver a request, and answer it by ``send``."""
        self._send, self.body = send, body
        self.content_type, self.content_encoding = envelope.content_type, envelope.content_encoding
        self.correlation_id, self.headers, self.reply_address = (
            envelope.correlation_id, envelope.headers, envelope.reply_to,
        )  # fmt: skip

    def reply(self, reply: Reply, /) -> None:
        """Send the answer."""
        self._send(self.reply_address, self.correlation_id, reply)
