"""Whether workers reply once, before they acknowledge: whoever is cut off in between must leave the request there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge._amqp.bundles import BUNDLE_TYPE, parse_bundle

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.amqp.messages import Message

__all__ = ["Answering"]


class Answering:
    """Follows the requests that wait for a reply, by the address and the id that it has.

    A request that was in a queue more than once, or came back to one, may have a reply of an earlier delivery.

    Attributes:
        unanswered: the requests that are acknowledged, and have no reply so far, and when they were.
    """

    def __init__(self, wrong: Callable[[Message, str], object]) -> None:
        """Report by ``wrong`` each request with a reply that should not have come, and why."""
        self._wrong = wrong
        self._answered: set[tuple[str, str]] = set()
        self._seen: dict[tuple[str, str], Message] = {}
        self._excused: set[tuple[str, str]] = set()
        self.unanswered: dict[tuple[str, str], tuple[Message, float]] = {}

    def queued(self, message: Message) -> None:
        """Called when a message is put into a queue."""
        call = _call_of(message)
        if call is not None:
            if call in self._seen:
                self._excuse(call)
            self._seen[call] = message

    def came_back(self, message: Message) -> None:
        """Called when it is given back to its queue."""
        call = _call_of(message)
        if call is not None:
            self._excuse(call)

    def _excuse(self, call: tuple[str, str]) -> None:
        self._excused.add(call)
        self.unanswered.pop(call, None)

    def acknowledged(self, message: Message, now: float) -> None:
        """Called when it is acknowledged."""
        call = _call_of(message)
        if call is not None and not (call in self._answered or call in self._excused):
            self.unanswered[call] = message, now

    def published(self, message: Message) -> None:
        """Called when a message arrives that may be a reply, or a bundle of replies."""
        properties = message.properties
        ids = [properties.correlation_id or ""]
        if properties.content_type == BUNDLE_TYPE:
            ids = [one.correlation_id.decode() for one, _ in parse_bundle(message.body)]
        for correlation_id in ids:
            call = message.key, correlation_id
            if call in self.unanswered:
                self._wrong(self.unanswered.pop(call)[0], "after its acknowledgement")
            elif call in self._answered and call not in self._excused:
                self._wrong(self._seen[call], "twice")
            if call in self._seen:
                self._answered.add(call)


def _call_of(message: Message) -> tuple[str, str] | None:
    properties = message.properties
    if not properties.reply_to or not properties.correlation_id:
        return None
    return properties.reply_to, properties.correlation_id
