"""Passes on what arrives for one of several callers and consumers of a session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_redis._resp.wire import FED, REPLY, MalformedError, decode_message, decode_request, unpack
from rabibridge_redis._transport.control import ControlDelivery
from rabibridge_redis._transport.delivery import Broadcast

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.transport import ControlRequest, Reply
    from rabibridge_redis._session.session import Session
    from rabibridge_redis._transport.caller import RedisCaller
    from rabibridge_redis._transport.consumer import RedisConsumer

__all__ = ["Receivers"]

_log = get_logger(__name__)


class Receivers:
    """The callers and consumers of one transport."""

    def __init__(self) -> None:
        """Start without any."""
        self._callers: list[RedisCaller] = []
        self._consumers: list[RedisConsumer] = []
        self._control: tuple[str, Callable[[ControlRequest], None]] | None = None
        self._newest: Session | None = None  # also while it is being set up

    def send_reply(self, receiver: bytes, correlation_id: bytes, reply: Reply, /) -> None:
        """Send a reply."""
        raise NotImplementedError

    def _void(self, unready: Session | None) -> None:
        """Make void what consumers have in hand.

        Args:
            unready: the session that is lost, if it was lost before it was ready: nobody else reports that.
        """
        for consumer in self._consumers:
            consumer.disconnect(for_good=False)
        if unready is not None:
            asyncio.get_running_loop().call_soon(self._interrupted, unready)

    def _interrupted(self, session: Session) -> None:
        """Tell the servers whose requests were in hand when a session was lost."""
        for consumer in list(self._consumers):
            if consumer.interrupted and session.error is not None:
                consumer.lost(session.error)

    def caller_gone(self, caller: bytes) -> None:
        """Called when a caller has disconnected: tell all consumers."""
        for consumer in list(self._consumers):
            consumer.events.caller_gone(caller)

    def _pushed(self, channel: bytes, payload: bytes) -> None:
        """Called with what was published to a channel."""
        session = self._newest
        if session is None:
            return
        kind, _, name = channel.decode("utf-8", "replace").removeprefix(session.prefix).partition(":")
        try:
            if kind == "s":
                self._woken(payload.decode("utf-8", "replace"))
            elif kind.startswith("x"):
                caller, correlation_id = unpack(payload)
                for consumer in list(self._consumers):
                    if name in consumer.spec.routing_keys:
                        consumer.events.cancelled(caller, correlation_id)
            elif kind.startswith("b"):
                self._broadcast(name, *unpack(payload))
        except MalformedError as error:
            _log.warning(
                "a message on the channel %r cannot be read: %s", channel, error, extra=log_fields("message.unreadable")
            )

    def _woken(self, name: str) -> None:
        for consumer in self._consumers:
            if consumer.name == name and not consumer.stopped:
                consumer.wake()

    def _broadcast(self, key: str, meta: bytes, body: bytes) -> None:
        envelope = decode_request(meta)
        if self._control is not None and key == self._control[0]:
            self._control[1](ControlDelivery(envelope, body, self.send_reply))
            return
        for consumer in list(self._consumers):
            if key in consumer.spec.routing_keys:
                consumer.broadcast_received(Broadcast(consumer, b"", 0, envelope, meta, body, -1))

    def _arrived(self, meta: bytes, body: bytes) -> None:
        """Called with what was sent to this session."""
        try:
            kind, receiver, correlation_id, reply, sender = decode_message(meta, body)
        except MalformedError as error:
            _log.warning("a message to this process cannot be read: %s", error, extra=log_fields("message.unreadable"))
            return
        if kind == REPLY:
            for caller in self._callers:
                if caller.reply_address == receiver:
                    caller.replied(correlation_id, reply)
                    return
        elif kind == FED:
            for consumer in self._consumers:
                if consumer.spec.streams and consumer.holds(sender, correlation_id):
                    consumer.events.fed(sender, correlation_id, reply)
                    return
