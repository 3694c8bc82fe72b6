"""Control requests, as a worker receives them: through the queue for cancellations, as broadcasts arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from rabibridge._amqp.field_tables import decode_table_or_empty
from rabibridge._amqp.properties import user_of
from rabibridge._amqp.reply_to import caller_address
from rabibridge._transport.replies import reply_properties
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge._amqp.properties import Properties
    from rabibridge._transport.replies import Replies
    from rabibridge_core.transport import ControlRequest, Reply

__all__ = ["ControlHandler", "RabbitControlRequest"]

_log = get_logger(__name__)


class ControlHandler(NamedTuple):
    """Where control requests go.

    Attributes:
        key: the routing key that they are sent to.
        received: called with each of them.
    """

    key: str
    received: Callable[[ControlRequest], None]


class ReplySender(Protocol):
    """Sends replies of usual size to usual addresses."""

    def reply(self, address: bytes, flags: int, properties: bytes, body: bytes) -> bool:
        """Send a message to a reply queue; return whether that could be done."""
        ...


class RabbitControlRequest:
    """A received control request.

    Its answer goes out without a confirm: the broker drops it if the asker is gone, and nobody is told. Answers that
    the broker may close a channel or a connection for are sent with care, as replies to calls are.
    """

    __slots__ = ("_properties", "_replies", "_sender", "body", "content_encoding", "content_type", "correlation_id")

    def __init__(self, sender: ReplySender, replies: Replies, properties: Properties, body: bytes) -> None:
        """Wrap a message.

        Args:
            sender: sends usual answers.
            replies: sends the others, and knows which these are.
            properties: those of the message.
            body: its body.
        """
        self._sender = sender
        self._replies = replies
        self._properties = properties
        self.body = body
        self.content_type = properties.content_type
        self.content_encoding = properties.content_encoding
        self.correlation_id = properties.correlation_id

    @property
    def reply_address(self) -> bytes:
        """Where its answers go."""
        return caller_address(self._properties.reply_to)

    @property
    def user(self) -> str:
        """The user that sent it, as the broker has checked it; empty if it does not say."""
        return user_of(self._properties)

    @property
    def headers(self) -> dict[str, str | int | float | bool | bytes]:
        """All headers."""
        return decode_table_or_empty(self._properties.headers)

    def reply(self, reply: Reply, /) -> None:
        """Send the answer."""
        replies, address = self._replies, self._properties.reply_to
        if len(reply.body) > replies.one_frame or replies.is_doubtful(address):
            replies.send(self._properties, reply, _lost)
            return
        flags, encoded = reply_properties(self.correlation_id, reply, replies.one_frame)
        if not self._sender.reply(address, flags, encoded, reply.body):
            replies.send(self._properties, reply, _lost)


def _lost(refusal: Exception | None) -> None:
    if refusal is not None:
        _log.debug(
            "the answer to a control request is lost: %s", refusal,
            extra=log_fields("control.answer_lost", error=refusal),
        )  # fmt: skip
