"""Opens sessions with Redis, one for each attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._tls.refusals import TLSRefusedError
from rabibridge_core.errors import ConnectionLostError
from rabibridge_redis._session.session import Session

if TYPE_CHECKING:
    from rabibridge_core.errors import ConfigurationError
    from rabibridge_core.settings import Settings
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["RedisOpener"]


class RedisOpener:
    """Opens the sessions of one connection.

    Attributes:
        curable: what is raised where a refusal can be cured while the program runs.
    """

    curable: tuple[type[ConfigurationError], ...] = (TLSRefusedError,)

    def __init__(self, settings: Settings, name: str) -> None:
        """Prepare to open sessions; the server lists their connections under ``name``."""
        self._settings, self._name = settings, name

    async def open(self, endpoint: Endpoint, /) -> Session:
        """Connect and log in.

        Raises:
            ConnectionLostError: as of :meth:`Session.open`.
            ConfigurationError: as of :meth:`Session.open`.
        """
        session = Session(endpoint, self._settings, self._name)
        try:
            await session.open()
        except BaseException:
            session.fail(ConnectionLostError("the attempt to connect has failed"))
            raise
        return session

    async def settled(self, session: Session, last: Endpoint | None, lost_at: float, /) -> None:
        """Return: Redis is ready for a set-up when it accepts the log-in."""
