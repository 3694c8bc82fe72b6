"""A request in hand: what arrived, and the ways to settle it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from rabibridge._amqp.field_tables import readable_table
from rabibridge._amqp.frames import PROBE_TABLE, parse_deadline_table

if TYPE_CHECKING:
    from rabibridge._amqp.frames import Properties
    from rabibridge._transport.service_channel import ServiceChannel
    from rabibridge_core.transport import Headers, Reply

__all__ = ["DIRECT_REPLY_TO", "SERVER_NAMED", "RabbitRequest"]

DIRECT_REPLY_TO = b"amq.rabbitmq.reply-to"
SERVER_NAMED = b"amq.gen-"
"""How the names of queues begin that the broker has named: they never come again, others may."""
_COUNT_MAX = 2**31
_NO_HEADERS: Headers = MappingProxyType({})


class RabbitRequest:
    """A request in hand."""

    __slots__ = (
        "_lane", "_probing", "_tag", "body", "caller", "content_encoding", "content_type", "correlation_id",
        "deadline", "deliveries", "headers", "persistent", "properties", "redelivered", "time_left", "wants_reply",
    )  # fmt: skip

    def __init__(self, lane: ServiceChannel, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        """Hold what was delivered on ``lane`` under this tag."""
        self._lane: ServiceChannel | None = lane
        self._tag = tag  # 0: acknowledged already
        self.properties = properties
        self.content_type, self.content_encoding, table, self.correlation_id, reply_to, _, self.persistent, _ = (
            properties
        )
        self.caller = reply_to
        self.wants_reply = reply_to != b""
        self.redelivered = redelivered
        self.deliveries = 1 if redelivered else 0
        self.body = body
        self.headers = _NO_HEADERS
        self._probing = True
        times = parse_deadline_table(table)
        if times is not None:
            self.time_left: float | None = times[0] / 1000
            self.deadline: float | None = times[1] / 1000
            return
        self.time_left = self.deadline = None
        if (table == PROBE_TABLE or not table) and not properties.expiration:
            self._probing = table != b""
        else:
            self._read_headers(table, properties.expiration)

    def _read_headers(self, table: bytes, expiration: bytes) -> None:
        """Read what else may stand there: a sender may write the deadline in his own way, or only an expiration."""
        headers = self.headers = readable_table(table)
        self._probing = "rb-deadline" in headers or headers.get("rb-probe") is True
        time_left, deadline = headers.get("rb-timeout"), headers.get("rb-deadline")
        if time_left is None and expiration.isdigit():
            time_left = int(expiration)
        self.time_left = time_left / 1000 if isinstance(time_left, int | float) else None
        self.deadline = deadline / 1000 if isinstance(deadline, int | float) else None
        counted = _count(headers.get("rb-deliveries")) + (1 if self.redelivered else 0)
        self.deliveries = max(counted, _count(headers.get("x-delivery-count")))
        self.redelivered = self.deliveries > 0

    @property
    def void(self) -> bool:
        """Whether the broker gives it to another worker, because its channel is gone."""
        return self._lane is not None and not self._lane.open and self._tag != 0

    def reply(self, reply: Reply, /) -> None:
        """Send the reply, then settle."""
        lane = self._lane
        if lane is not None:
            if not (self._tag or lane.open):
                self._reply_elsewhere(lane, reply)
                return
            frames = lane.reply(self.properties, reply)
            self._lane = None
            lane.settle(frames, self._tag)

    def _reply_elsewhere(self, lane: ServiceChannel, reply: Reply) -> None:
        """Reply to an accepted request whose channel is gone: nobody else will."""
        lane.consumer.reply_late(self.properties, reply)
        self._lane = None

    def accept(self) -> None:
        """Settle now, reply later."""
        lane = self._lane
        if lane is not None and lane.open and self._tag:
            lane.accept(self._tag)
            self._tag = 0

    def discard(self) -> None:
        """Settle without an answer."""
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.settle(b"", self._tag)

    def reject(self, *, requeue: bool) -> None:
        """Give it back, or refuse it for good."""
        lane, self._lane = self._lane, None
        if lane is None:
            return
        if self._tag:
            lane.give_back(self._tag, requeue=requeue)
        else:
            lane.settle(b"", 0)

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        """Put it aside, then reply and settle."""
        lane, tag = self._lane, self._tag
        if lane is None:
            return
        answer = lane.reply(self.properties, reply) if reply is not None and self.wants_reply else b""
        self._lane = None

        def put_aside(refusal: Exception | None) -> None:
            if not (refusal and tag):
                lane.settle(answer, tag)
                return
            if answer:
                lane.write(answer)
            lane.give_back(tag, requeue=False)

        lane.dead_letter(self, reason, put_aside)

    def probe(self) -> None:
        """Ask whether the caller is still there, if it lets itself be asked."""
        # A returned direct reply says nothing: RabbitMQ returns it before 4.2 always, after that never.
        if self._lane is not None and self._probing and self.wants_reply and self.caller.startswith(SERVER_NAMED):
            self._lane.probe(self.caller)


def _count(value: object) -> int:
    """Return a count from a header of a sender who is not trusted."""
    return min(max(0, value), _COUNT_MAX) if isinstance(value, int) else 0
