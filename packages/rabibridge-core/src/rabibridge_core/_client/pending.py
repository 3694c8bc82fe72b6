"""One pending call, and the names that calls go by."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from rabibridge_core._client.refusals import RetryState
    from rabibridge_core.transport import Reply, Request

__all__ = ["PendingCall", "correlation_ids"]


class PendingCall:
    """A call that was sent and has no outcome yet."""

    __slots__ = ("ends_at", "func_name", "future", "lost", "request", "timeout", "watch")

    def __init__(
        self,
        request: Request,
        future: asyncio.Future[Reply],
        func_name: str,
        timeout: float | None,
        ends_at: float | None,
    ) -> None:
        """Enter what was sent.

        Args:
            request: what was sent; it is kept for sending it again.
            future: takes the outcome.
            func_name: what was called.
            timeout: the time that the call was given, in seconds.
            ends_at: when that is over on the clock of the event loop; ``None``: never.
        """
        self.request = request
        self.future = future
        self.func_name = func_name
        self.timeout = timeout
        self.ends_at = ends_at
        self.lost: ConnectionLostError | None = None
        """The error of the last attempt whose outcome is unknown, for a call that is sent again after it."""
        self.watch: RetryState | None = None
        """What is kept of it where its service refuses calls, or where it is to be sent again if it is refused."""

    def lost_by(self, error: ConnectionLostError, *, accepted: bool) -> ConnectionLostError:
        """Return the error of this call for the loss of its connection: each has one of its own.

        Args:
            error: why the connection is gone.
            accepted: whether the broker had confirmed the request.
        """
        earlier = self.lost
        lost = ConnectionLostError(
            f"call of {self.func_name!r}: {error}",
            executed=error.executed if earlier is None else None,
            accepted=accepted or (earlier is not None and earlier.accepted),
        )
        lost.__cause__ = error
        return lost

    def end(self, error: Exception, *, accepted: bool = False) -> None:
        """End it with this error, or with one of its own where the error is the connection's.

        A request that the broker had confirmed is not among those that it refuses with a ConfigurationError; but its
        reply cannot come any more.
        """
        if isinstance(error, ConfigurationError):
            message = f"call of {self.func_name!r}: {error}"
            accepted = accepted or (self.lost is not None and self.lost.accepted)
            refused = ConnectionLostError(message, accepted=True) if accepted else ConfigurationError(message)
            refused.__cause__ = error
            error = refused
        elif isinstance(error, ConnectionLostError):
            error = self.lost_by(error, accepted=accepted)
        self.future.set_exception(error)


def correlation_ids(cid_max: int) -> Iterator[bytes]:
    """Count from a random number up to ``cid_max``, then from 0, for ever.

    Raises:
        ConfigurationError: ``cid_max`` is less than 1.
    """
    if cid_max < 1:
        raise ConfigurationError(f"CID_MAX is {cid_max}: it must be at least 1")
    number = random.SystemRandom().randrange(cid_max)
    while True:
        yield b"%d" % number
        number = (number + 1) % cid_max
