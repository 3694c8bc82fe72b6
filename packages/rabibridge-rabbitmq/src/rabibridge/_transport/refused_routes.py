"""Routing keys that the broker refuses this user: which, why, and for how long they are not tried again.

In a namespace the permissions of a user may be limited to routing keys. The broker answers a message to another one by
closing the channel, and what waits for replies on that channel is lost. So the key is remembered: the next message to
it is refused here, and the other calls of the client do not suffer from it again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rabibridge._connection.error_translation import topic_error
from rabibridge_core._clock import monotonic
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from rabibridge._connection.session import Session

__all__ = ["RefusedRoutes"]

_TOPIC = re.compile(r"access to topic '(?P<key>.*)' in exchange '(?P<exchange>.*)' in vhost ", re.DOTALL)
_KEPT_FOR = 30.0
"""After this many seconds a key is tried again: the permission may have been granted meanwhile."""
_KEPT_MAX = 1024


class RefusedRoutes:
    """The routing keys that one caller may not publish to."""

    def __init__(self) -> None:
        """Know none."""
        self._refused: dict[str, tuple[float, ConfigurationError]] = {}

    def learn(self, session: Session, close_text: str, cause: Exception) -> tuple[str, ConfigurationError] | None:
        """Remember the key that the broker has refused; return it and the error. ``None``: it has refused no key.

        Args:
            session: the connection.
            close_text: what the broker says.
            cause: the loss of the channel.
        """
        found = _TOPIC.search(close_text)
        if found is None:
            return None
        error = topic_error(session.endpoint, found["exchange"], found["key"], cause)
        while len(self._refused) >= _KEPT_MAX:
            del self._refused[next(iter(self._refused))]
        self._refused[found["key"]] = monotonic() + _KEPT_FOR, error
        return found["key"], error

    def __contains__(self, key: str) -> bool:
        until, _ = self._refused.get(key, (0.0, None))
        return until > monotonic()

    def check(self, key: str) -> None:
        """Raise the error of a key that was refused a short while ago.

        Raises:
            ConfigurationError: it was.
        """
        if key in self:
            refusal = self._refused[key][1]
            raise ConfigurationError(str(refusal)) from refusal

    def forget(self) -> None:
        """Try all keys again: there is a new connection."""
        self._refused.clear()
