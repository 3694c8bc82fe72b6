"""Opens sessions with RabbitMQ, and knows how long a cluster takes after it has lost a node."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge._connection.dialer import Dialer
from rabibridge._connection.session import Session
from rabibridge._connection.tls import check_tls
from rabibridge_core._tls.refusals import TLSRefusedError

if TYPE_CHECKING:
    from rabibridge_core.errors import ConfigurationError
    from rabibridge_core.settings import Settings
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["LIBRARIES", "RabbitOpener"]

LIBRARIES = ("aiormq", "aio_pika")
"""Packages whose tasks serve a session."""
_LEADER_ELECTION_TIME = 1.0
"""How long a cluster that has lost a node may take to elect new leaders of its quorum queues, in seconds."""
_FINDS_NEW_LEADERS = (3, 12, 5)
"""From this version on, a channel that uses a queue without a leader finds the new leader by itself. Earlier versions
refuse all its operations on that queue until the lost node is back."""


class RabbitOpener:
    """Opens the sessions of one connection.

    Attributes:
        curable: what is raised where TLS or a certificate is refused.
    """

    curable: tuple[type[ConfigurationError], ...] = (TLSRefusedError,)

    def __init__(self, settings: Settings, name: str) -> None:
        """Prepare to open sessions; the broker lists their connections under ``name``.

        Raises:
            ConfigurationError: the settings for TLS contradict each other.
        """
        check_tls(settings)
        self._settings, self._name = settings, name
        self._dialer = Dialer()

    async def open(self, endpoint: Endpoint, /) -> Session:
        """Connect and log in.

        Raises:
            ConnectionLostError: as of :meth:`Session.connect`.
            ConfigurationError: as of :meth:`Session.connect`.
        """
        return await Session.connect(endpoint, self._settings, self._name, self._dialer)

    async def settled(self, session: Session, last: Endpoint | None, lost_at: float, /) -> None:
        """Wait until a cluster that has just lost a node has elected new leaders, if its version requires that."""
        if last not in (None, session.endpoint) and session.broker_version < _FINDS_NEW_LEADERS:
            remaining = lost_at + _LEADER_ELECTION_TIME - asyncio.get_running_loop().time()
            if remaining > 0:
                await asyncio.sleep(remaining)
