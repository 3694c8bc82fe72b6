"""Which of several independent brokers the next call goes to.

A call with a key goes to the broker with the highest hash of key and name (rendezvous hashing: Thaler and Ravishankar,
1998), so that a broker more or less moves only its own share of the keys. Any other call goes to one of two brokers
drawn at random, more likely the one with less in hand for its speed (Mitzenmacher, "The power of two choices", 2001):
drawing keeps many clients from turning to the same broker at once.
"""

from __future__ import annotations

import random
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["Shard", "ShardSet", "ranked"]

_WEIGHT = 0.2
"""How much a new time counts against the average of those before."""
_KNOWN_FOR = 10.0
"""For how many seconds the time of a call says how fast a broker's workers are."""
_SLOWER, _NO_MATTER = 3.0, 0.05
"""A broker gets no calls while it is known that they take this many times as long there as at the fastest one, and at
least this many seconds longer."""
_ALIKE = 0.005
"""Added to both times that are compared, in seconds: much smaller ones are of chance."""
_FULL_FOR, _ABSENT_FOR = 0.5, 5.0
"""How long others are preferred after a refusal, in seconds: by a full queue, or because nobody serves there."""
_SILENT, _SILENT_TIMES = 0.5, 5.0
"""A broker where calls wait, and none has ended for so many seconds and so many times as long as they take."""
_CLEARLY, _MANY = 2.0, 4
"""How many times as much load leaves no choice, where at least so many calls wait: one slow call says little."""
_SERVICES_KEPT = 1024


class ShardConnection(Protocol):
    """What the choice must know of the connection to a broker."""

    @property
    def open(self) -> bool:
        """Whether a call could be sent now."""
        ...

    @property
    def pending(self) -> int:
        """How many calls wait for their reply there."""
        ...


class _Speed:
    """What is known of one service at one broker."""

    __slots__ = ("at", "avoided_until", "heard_at", "seconds", "waiting")

    def __init__(self) -> None:
        self.seconds = self.at = self.avoided_until = self.heard_at = 0.0
        self.waiting = 0


class Shard:
    """One of the brokers, as one client sees it.

    Attributes:
        name: its name, which the share of the keys depends on.
        connection: the connection to it.
    """

    __slots__ = ("_services", "connection", "name")

    def __init__(self, name: str, connection: ShardConnection) -> None:
        """Know nothing of it yet."""
        self.name = name
        self.connection = connection
        self._services: dict[str, _Speed] = {}

    def __repr__(self) -> str:
        """Show the name."""
        return f"<{type(self).__name__} {self.name!r}>"

    def _speed(self, service: str) -> _Speed:
        found = self._services.get(service)
        if found is None:
            if len(self._services) >= _SERVICES_KEPT:
                self._services.clear()
            found = self._services[service] = _Speed()
        return found

    def sent(self, service: str, now: float) -> None:
        """Take note of a call that is sent; :meth:`ended` follows."""
        speed = self._speed(service)
        if not speed.waiting:
            speed.heard_at = now
        speed.waiting += 1

    def ended(self, service: str) -> None:
        """Take note that a call has ended, however."""
        speed = self._speed(service)
        speed.waiting = max(0, speed.waiting - 1)

    def took(self, service: str, seconds: float, now: float) -> None:
        """Take note of a call that has ended with a result. How long failures take says nothing about the speed."""
        speed = self._speed(service)
        if now - speed.at > _KNOWN_FOR:
            speed.seconds = seconds
        else:
            speed.seconds += (seconds - speed.seconds) * _WEIGHT
        speed.at = speed.heard_at = now

    def refused(self, service: str, retry_after: float | None, now: float) -> None:
        """Take note of a full queue: prefer others for a while, at most until it should have been worked off."""
        limit = _FULL_FOR if retry_after is None else min(_FULL_FOR, retry_after)
        self._avoid(service, now + limit * _jitter())

    def absent(self, service: str, now: float) -> None:
        """Take note that nobody serves it there: prefer others for a while."""
        self._avoid(service, now + _ABSENT_FOR * _jitter())

    def _avoid(self, service: str, until: float) -> None:
        speed = self._speed(service)
        speed.avoided_until = max(speed.avoided_until, until)

    def avoids(self, service: str, now: float) -> bool:
        """Tell whether others are preferred now: after a refusal, or because nothing is heard of what was sent."""
        speed = self._services.get(service)
        if speed is None:
            return False
        silent = bool(speed.waiting) and now - speed.heard_at > max(_SILENT, _SILENT_TIMES * speed.seconds)
        return silent or now < speed.avoided_until

    def seconds(self, service: str, now: float) -> float | None:
        """Return how long a call takes, on average of late; ``None``: nothing recent is known."""
        speed = self._services.get(service)
        return None if speed is None or not speed.at or now - speed.at > _KNOWN_FOR else speed.seconds


def _jitter() -> float:
    return random.uniform(0.5, 1.0)  # noqa: S311 - nobody gains by guessing when a client turns back


def ranked(names: Sequence[str], key: str) -> list[int]:
    """Return the positions of the brokers in the order in which a key prefers them."""
    encoded = key.encode("utf-8", "surrogatepass")

    def weight(position: int) -> bytes:
        name = names[position].encode("utf-8", "surrogatepass")
        return blake2b(len(name).to_bytes(4, "big") + name + encoded, digest_size=8).digest()

    return sorted(range(len(names)), key=weight, reverse=True)


class ShardSet:
    """All brokers of one client."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        """Choose among ``shards``."""
        self.shards = tuple(shards)
        self._names = [shard.name for shard in shards]

    def of_key(self, key: str) -> list[Shard]:
        """Return all, in the order in which the key prefers them."""
        return [self.shards[position] for position in ranked(self._names, key)]

    def any_of(self, service: str, tried: Collection[Shard], now: float) -> Shard | None:
        """Return where a call without a key goes; ``None``: no other can be reached now.

        Args:
            service: what it calls.
            tried: where it was already.
            now: the time.
        """
        reachable = [shard for shard in self.shards if shard not in tried and shard.connection.open]
        if not reachable:
            return None
        wanted = [shard for shard in reachable if not shard.avoids(service, now)] or reachable
        if len(wanted) == 1:
            return wanted[0]
        times = [(shard, shard.seconds(service, now)) for shard in wanted]
        known = [seconds for _, seconds in times if seconds is not None]
        if known:
            fastest = min(known)
            limit = max(_SLOWER * fastest, fastest + _NO_MATTER)
            times = [(shard, seconds) for shard, seconds in times if seconds is None or seconds <= limit]
            if len(times) == 1:
                return times[0][0]
        (one, of_one), (other, of_other) = random.sample(times, 2)
        if of_one is None or of_other is None:
            of_one = of_other = 0.0
        loads = [
            (shard.connection.pending + 1) * (of_it + _ALIKE) for shard, of_it in ((one, of_one), (other, of_other))
        ]
        many = max(one.connection.pending, other.connection.pending) >= _MANY
        if many and max(loads) > _CLEARLY * min(loads):
            return one if loads[0] < loads[1] else other
        # Of two that are much alike, the more loaded one gets a call now and then: what is known of it stays new.
        return random.choices((one, other), [loads[1] ** 2, loads[0] ** 2])[0]  # noqa: S311 - as above
