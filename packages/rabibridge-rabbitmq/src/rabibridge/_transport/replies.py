"""The replies of one worker connection: where they may be sent, and which of them are sent with care."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rabibridge._amqp.bundles import BUNDLE_BYTES
from rabibridge._amqp.field_tables import encode_table
from rabibridge._amqp.properties import Properties, encode_properties
from rabibridge._amqp.reply_to import DIRECT_REPLY_TO, direct_reply_node
from rabibridge._transport.interfaces import ReplyUnsentError
from rabibridge._transport.reply_queues import ReplyQueues
from rabibridge._transport.reply_trials import ReplyTrials
from rabibridge._transport.republish import OutgoingMessage
from rabibridge_core._protocol.broker_texts import too_large
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ContentRejectedError

if TYPE_CHECKING:
    from rabibridge._connection.session import Session
    from rabibridge._transport.interfaces import Done
    from rabibridge_core.transport import Reply

__all__ = ["Replies", "reply_properties"]

_log = get_logger(__name__)
_TOLERANT_SINCE = (4, 2)
"""The version of RabbitMQ from which it drops replies to addresses that it cannot decode."""
_HEADER_START = 14
"""Bytes of a content header frame before the properties."""
_NODES_KEPT = 256
_DRAIN_TIMEOUT = 5.0
_LOG_INTERVAL = 60.0
"""Refused addresses are logged at most once in this many seconds: they may arrive by the thousand."""
_FIRST_BUNDLES = 4096
"""Maximum size of a bundle in bytes as long as the broker has not accepted a message of the size that bundles may have.

It may be set to accept less. A bundle must not be refused where each of its replies would have been accepted: the
broker would close the channel, and with it all requests of its service would be lost.
"""
_NOWHERE = b"rpc.check.size"
"""The routing key of messages that are to reach no queue."""
_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple


def reply_properties(correlation_id: bytes, reply: Reply, max_payload: int) -> tuple[int, bytes]:
    """Return the property flags and the encoded properties of a reply.

    Raises:
        ContentRejectedError: they do not fit into one frame, so that the broker would close the connection.
    """
    table = encode_table(reply.headers) if reply.headers else b""
    fields = (reply.content_type, reply.content_encoding, table, correlation_id, b"", b"", False, b"", b"")
    flags, encoded = encode_properties(_new_tuple(Properties, fields))
    if len(encoded) > max_payload - _HEADER_START:
        raise ContentRejectedError(
            f"the headers of the reply take {len(encoded)} bytes; one frame of this connection has {max_payload}"
        )
    return flags, encoded


def _ignore(refusal: Exception | None) -> None:
    """Do nothing: the request is settled."""


class Replies:
    """Decides how the services on one connection send their replies.

    Attributes:
        one_frame: largest body that is sent without a further question, in bytes.
        accepted: largest body that the broker is known to accept, in bytes.
    """

    def __init__(self, session: Session, name: str) -> None:
        """Send replies on a connection that the broker lists under ``name``."""
        self._session = session
        self._name = name
        self.one_frame = self.accepted = session.max_payload
        self._queues = ReplyQueues(session.reply_queues)
        self._tolerant = session.broker_version >= _TOLERANT_SINCE
        self._nodes: set[bytes] = set()
        self._large = ReplyTrials(session, name, apart=False)
        self._direct = ReplyTrials(session, name, apart=True)
        self._bundles_max = _FIRST_BUNDLES
        self._bundles_tried = False
        self._sizes: list[tuple[int, Done]] = []
        """Sizes that are to be tried, the first of them now."""
        self._limited = LimitedLog(_log, _LOG_INTERVAL)

    def refusal(self, reply_to: bytes) -> str:
        """Return why a request with this address is not processed, as a clause; empty if it is allowed."""
        refusal = self._queues.refusal(reply_to) if reply_to else ""
        if refusal:
            self._log("set_aside", "a request is set aside: %s", refusal)
        return refusal

    def is_doubtful(self, reply_to: bytes) -> bool:
        """Tell whether the broker may close the connection for a reply to an address that is well-formed."""
        if self._tolerant or not reply_to.startswith(DIRECT_REPLY_TO):
            return False
        return direct_reply_node(reply_to) not in self._nodes

    def send(self, properties: Properties, reply: Reply, done: Done) -> None:
        """Send a doubtful or a large reply where that harms no other request.

        Args:
            properties: those of the request.
            reply: the reply to send.
            done: called with ``None`` when the broker has accepted it; with ContentRejectedError if it is larger than
                the broker accepts; otherwise, with the error that it was lost with, or not sent for.
        """
        flags, encoded = reply_properties(properties.correlation_id, reply, self._session.max_payload)
        address, size = properties.reply_to, len(reply.body)
        error = self._too_large(size)
        if error is not None:
            done(error)
            return
        doubtful = self.is_doubtful(address)

        def finish(refusal: Exception | None) -> None:
            if refusal is None:
                self._remember(address, size)
            elif (too_large := self._too_large(size)) is not None:
                refusal = too_large
            elif not isinstance(refusal, ReplyUnsentError):  # then another worker may answer
                self._log("lost", "a reply to %r is lost: %s", address, refusal)
            done(refusal)

        if doubtful and self._direct.refused:  # they may come by the hundred, and must not take the places of others
            done(None)
            done = _ignore
        mandatory = not address.startswith(DIRECT_REPLY_TO)
        message = OutgoingMessage(address, flags, encoded, reply.body, finish, mandatory=mandatory)
        (self._direct if doubtful else self._large).send(message)

    def try_size(self, size: int, done: Done) -> None:
        """Find out whether the broker accepts bodies of this size, by one that reaches no queue.

        Args:
            size: in bytes.
            done: called with ``None`` if it does; with ContentRejectedError if it does not; otherwise, with the error
                for which that is not known.
        """
        error = self._too_large(size)
        if error is not None:
            done(error)
            return
        self._sizes.append((size, done))
        if len(self._sizes) == 1:
            message = OutgoingMessage(_NOWHERE, 0, b"", bytes(size), self._size_tried, mandatory=False)
            self._large.send(message)

    def bundle_size(self) -> int:
        """Return how large a bundle may be now, in bytes. The first time, ask the broker whether it accepts more."""
        if not self._bundles_tried:
            self._bundles_tried = True
            self.try_size(BUNDLE_BYTES, self._bundle_tried)
        return min(self._bundles_max, self.one_frame)

    def _bundle_tried(self, refusal: Exception | None) -> None:
        if refusal is None or self._session.max_message is not None:
            self._bundles_max = BUNDLE_BYTES  # a lower limit of the broker is known now, and in `one_frame`

    def _size_tried(self, refusal: Exception | None) -> None:
        (tried, tried_done), *others = self._sizes
        self._sizes = []
        if refusal is None:
            self.accepted = max(self.accepted, tried)
        tried_done(self._too_large(tried) or refusal)
        for size, done in others:
            error = self._too_large(size)
            if error is not None or size <= self.accepted:
                done(error)
            else:
                self.try_size(size, done)

    def learn(self, code: int, text: str) -> None:
        """Note the largest body that the broker accepts if it has closed a channel because of a larger one."""
        if self._session.learn_max_message(code, text):
            self._apply_limit()

    def _apply_limit(self) -> None:
        if self._session.max_message is not None:
            self.accepted = self._session.max_message
            self.one_frame = min(self._session.max_payload, self.accepted)

    def _too_large(self, size: int) -> ContentRejectedError | None:
        self._apply_limit()
        limit = self._session.max_message
        if limit is None or size <= limit:
            return None
        return ContentRejectedError(too_large("the reply", size, limit))

    def _remember(self, address: bytes, size: int) -> None:
        self.accepted = max(self.accepted, size)
        node = direct_reply_node(address)
        if node is not None:
            if len(self._nodes) >= _NODES_KEPT:
                self._nodes.clear()
            self._nodes.add(node)

    def log_refused(self, count: int) -> None:
        """Log that the broker has refused replies."""
        self._log("lost", "%d replies are lost: the broker refuses them for the queues of their callers", count)

    def log_unconfirmed(self, count: int) -> None:
        """Log that the broker does not confirm replies, whose requests are acknowledged nevertheless."""
        self._log("unconfirmed", "the broker has not confirmed %d replies, which may be lost", count)

    def _log(self, event: str, text: str, *args: object) -> None:
        self._limited.log(
            f"{self._name}: {text}", logging.WARNING, f"%s: {text}", self._name, *args,
            extra=log_fields(f"reply.{event}", instance=self._name),
        )  # fmt: skip

    async def drain(self) -> None:
        """Wait a few seconds at most until these replies are sent, then send no more of them."""
        await asyncio.gather(self._large.drain(_DRAIN_TIMEOUT), self._direct.drain(_DRAIN_TIMEOUT))
