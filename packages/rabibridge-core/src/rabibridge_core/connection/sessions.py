"""What a supervised connection uses of one connection to a broker, and of the one who opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio

    from rabibridge_core.errors import ConfigurationError, ConnectionLostError
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["Opener", "Session", "SessionT"]


class Session(Protocol):
    """One connection, from its log-in to its loss. It is never repaired, but replaced by another one.

    Attributes:
        endpoint: the broker that it leads to.
        lost: set when it is lost or closed.
    """

    endpoint: Endpoint
    lost: asyncio.Event

    @property
    def error(self) -> ConnectionLostError | None:
        """Why it is lost; ``None`` while it is open."""
        ...

    @property
    def forked(self) -> bool:
        """Whether this is the copy of a connection in a forked process, which belongs to its parent."""
        ...

    @property
    def blocked_for(self) -> float:
        """For how many seconds of this connection the broker has accepted no messages."""
        ...

    async def close(self) -> None:
        """Close it with what the protocol has for that; it is closed afterwards, even where that fails."""
        ...

    def give_up(self, error: ConnectionLostError) -> None:
        """End it at once, while the tasks of the program may be ending; ``error`` is what everybody gets."""
        ...

    def abandon(self) -> None:
        """Close it without an event loop, which is closed, and without telling anybody."""
        ...


SessionT = TypeVar("SessionT", bound=Session)
_OpenedT = TypeVar("_OpenedT", bound=Session)


class Opener(Protocol[_OpenedT]):
    """Opens sessions of one kind of broker.

    Attributes:
        curable: what :meth:`open` raises where the broker refuses, but files or a broker may be mended while the
            program runs: attempts go on, and whoever waits is told.
    """

    curable: tuple[type[ConfigurationError], ...]

    async def open(self, endpoint: Endpoint, /) -> _OpenedT:
        """Connect and log in.

        Raises:
            ConnectionLostError: the broker cannot be reached: another attempt may succeed.
            ConfigurationError: the broker refuses permanently.
        """
        ...

    async def settled(self, session: _OpenedT, last: Endpoint | None, lost_at: float, /) -> None:
        """Wait until the broker is ready for the set-up of a session, if it takes it time to be so after a loss.

        Args:
            session: the session that was just opened.
            last: where the last session led to; ``None`` if there was none.
            lost_at: when that was lost, on the clock of the event loop.
        """
        ...
