"""Chooses the numbers of channels within the limits of the broker: that of a connection, and that of its user.

The former is negotiated (``channel_max``). The latter (``max-channels`` of RabbitMQ) becomes known only when it is
exceeded, and then costs the connection. It is remembered for the connections that follow, so that what is too much is
refused by one error, and does not end one connection after the other.
"""

from __future__ import annotations

import re
import shlex
import time
from typing import TYPE_CHECKING

from rabibridge_core._concurrency.backoff import Backoff
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Container

__all__ = ["ChannelNumbers", "UserLimit", "exceeds_user_limit"]

_MAX = 65535
_REFUSED = re.compile(r"number of channels opened for user '(.*)' has .* limit of \(?(\d+)")
"""The text with which RabbitMQ closes a connection whose user has too many channels; 3.x has the number in brackets."""
_OTHERS = 24
"""How many channels of a connection are left for other uses than services."""
_FEWEST_OTHERS = 8
"""How many of them are needed at least. More make declarations of many services faster."""
_FIRST_TRIAL, _LAST_TRIAL = 60.0, 3600.0
"""After how many seconds a limit may be exceeded again, as it may have been raised: at first, and at last."""


def exceeds_user_limit(reply_text: str) -> bool:
    """Tell whether the broker has closed a connection because its user has too many channels.

    Args:
        reply_text: the reason that the broker gave.
    """
    return _REFUSED.search(reply_text) is not None


class UserLimit:
    """How many channels a broker lets its user open, as far as it has said."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know of no limit; ``clock`` returns seconds."""
        self.total = 0
        """Limit of all connections of the user together."""
        self.user = ""
        self._clock = clock
        self._maximum = _MAX
        self._until = 0.0
        self._trials = Backoff(_FIRST_TRIAL, _LAST_TRIAL, jitter=0)

    def learn(self, reply_text: str, opened: int) -> None:
        """Note the limit if a connection was closed because of it.

        Args:
            reply_text: why the broker has closed the connection.
            opened: how many channels of it were open, with those that were being opened.
        """
        refused = _REFUSED.search(reply_text)
        if refused is None:
            return
        now = self._clock()
        if now > self._until + self._trials.nominal:
            self._trials.reset()
        if self._until <= now:
            self._until = now + self._trials.next()
        self.user, self.total = refused[1], int(refused[2])
        # Other connections may hold some: how many are left is unknown, and found by trying one less each time.
        self._maximum = self.total if opened > self.total else opened - 1

    @property
    def maximum(self) -> int:
        """How many channels one connection may open now."""
        return self._maximum if self._clock() < self._until else _MAX


class ChannelNumbers:
    """The numbers from 1 to :attr:`maximum`, each used by one channel at a time."""

    def __init__(self, negotiated: int, user_limit: UserLimit | None = None) -> None:
        """Allow as many channels as the broker does.

        Args:
            negotiated: the limit of the connection; 0: there is none.
            user_limit: what is known of the limit of the user; ``None``: nothing.
        """
        self._negotiated = negotiated or _MAX
        self._user_limit = UserLimit() if user_limit is None else user_limit
        self._last = 0

    @property
    def maximum(self) -> int:
        """How many channels may be open."""
        return min(self._negotiated, self._user_limit.maximum)

    def suffice_for(self, services: int) -> bool:
        """Tell whether so many services need no more channels than the broker allows in any case."""
        return self._needed(services) <= (self._negotiated if self._is_negotiated else self._user_limit.total)

    def too_few_for(self, services: int, broker: object) -> ConfigurationError:
        """Return the error for services that need more channels than a broker allows."""
        needed = self._needed(services)
        return ConfigurationError(
            f"{services} services need {needed} channels, and {broker} {self._explain(needed)}, or spread the services "
            "over several servers" + ("" if self._is_negotiated else " with users of their own")
        )

    def _needed(self, services: int) -> int:
        return services + (_OTHERS if self._is_negotiated else _FEWEST_OTHERS)

    @property
    def _is_negotiated(self) -> bool:
        """Whether it is the limit of the connection that counts."""
        return self._user_limit.maximum >= self._negotiated

    def _explain(self, needed: int) -> str:
        """Return what the limit is and how to raise it, as a sentence that lacks its subject: the broker."""
        if self._is_negotiated:
            return f"allows {self._negotiated} on a connection: raise channel_max on the broker"
        user, total = self._user_limit.user, self._user_limit.total
        limit = f'{{"max-channels": {total + needed}}}'
        return (
            f"allows the user {user!r} {total} in all connections together: raise that limit (rabbitmqctl "
            f"set_user_limits {shlex.quote(user)} '{limit}')"
        )

    def free(self, *in_use: Container[int]) -> int:
        """Return a number that none of these contains.

        Raises:
            ConfigurationError: all numbers are in use.
        """
        maximum = self.maximum
        for _ in range(maximum):
            self._last = self._last % maximum + 1
            if not any(self._last in used for used in in_use):
                return self._last
        raise ConfigurationError(
            f"all {maximum} channels that this connection may have are open; the broker {self._explain(maximum + 1)}"
        )
