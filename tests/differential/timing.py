"""What depends on time alone, on RabbitMQ as well: the sequences leave it out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.differential.pair import Pair

__all__ = ["is_unclear"]


def is_unclear(pair: Pair, name: str) -> bool:
    """Tell whether what becomes of the calls of a client that loses its connection now depends on time.

    A call that finds the queue full is tried again at a random time, before or after others: these are other such
    calls, and copies of calls that came back, which a worker puts at the end of a classic queue. A worker finds out
    that a caller is gone when it answers any call of its former address; what else came from there then ends, or is
    joined before that by the copy that was sent again.
    """
    if not name.startswith("client"):
        return False
    waiting = [message for queue in pair.broker.queues.values() for message in queue._ready]
    calls = {(message.reply_to, message.request.correlation_id) for message in waiting}
    copies = Counter(call for _, call in calls)
    calls_from = Counter(address for address, _ in calls)
    shared = any(count > 1 for count in calls_from.values())
    if any(copies[call] > 1 and calls_from[address] > 1 for address, call in calls):
        return True
    back = sum(message.deliveries > 0 for message in waiting)
    again = pair.fake.sent_again(name)
    return pair.limits.queue_size is not None and again > 0 and (again + back > 1 or shared)
