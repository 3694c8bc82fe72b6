"""Known mistakes of the transport, to see that the simulation of bytes finds them."""

from __future__ import annotations

from tests.simulation.planted import Mistake

__all__ = ["AMQP_MISTAKES"]

_PUBLISHES = "_transport.publish_channel", "PublishChannel"
_SERVES = "_transport.service_channel", "ServiceChannel"
AMQP_MISTAKES: dict[str, Mistake] = {
    "a nack counts as a confirm": Mistake(*_PUBLISHES, "_report", "if not accepted:", "if False:", "rabibridge"),
    "a cancellation is not counted": Mistake(*_PUBLISHES, "cancel", "self._published += 1", "pass", "rabibridge"),
    "a message is counted twice": Mistake(
        *_PUBLISHES, "publish", "self._published + 1", "self._published + 2", "rabibridge"
    ),
    "a confirm of several messages settles the last": Mistake(
        *_PUBLISHES, "confirmed", "range(self._lowest, min(tag, self._published) + 1)", "range(tag, tag + 1)",
        "rabibridge",
    ),
    "an acknowledgement covers requests that run": Mistake(
        *_SERVES, "delivered", "self._unacknowledged[tag] = None", "pass", "rabibridge"
    ),
    "the channel of a caller does not notice its end": Mistake(
        *_PUBLISHES, "closed", "self._caller.update()\n        self._events.lost(error, unconfirmed)",
        "self._caller.update()", "rabibridge",
    ),
    "a multiplexer does not tell its channels that it is lost": Mistake(
        "_connection.multiplexer", "Multiplexer", "_fail", "stack.callback(channel.connection_lost, error)", "pass",
        "rabibridge",
    ),
    "a returned message is ignored": Mistake(
        *_PUBLISHES, "returned", "self._events.refused(properties.correlation_id, NoRouteError, NO_ROUTE)", "pass",
        "rabibridge",
    ),
    "a request is acknowledged before its reply": Mistake(
        *_SERVES, "settle", "if frames:\n",
        "if tag:\n            self._multiplexer.write(ack(self.number, tag))\n        tag = 0\n        if frames:\n",
        "rabibridge",
    ),
    "the first direct reply is not tried again": Mistake(
        "_transport.reply_trials", "ReplyTrials", "_may_try_again",
        "return self._session.error is None and tried < _PATIENCE", "return False", "rabibridge",
    ),
    "calls that outlast their queue do not count": Mistake(
        *_SERVES, "cancelled", "self._events.lost(error)", "pass", "rabibridge"
    ),
    "the rest of a frame is lost": Mistake(
        "_connection.multiplexer", "Multiplexer", "data_received", "self._parser.feed(data)",
        "self._parser.feed(data[: max(1, len(data) & ~1)])", "rabibridge",
    ),
}  # fmt: skip
