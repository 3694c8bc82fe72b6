"""One pending call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    import asyncio

    from rabibridge_core._client.backlog import BacklogEstimate
    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core.plugins.observers import CallObserver
    from rabibridge_core.transport import Caller, FeedRefusal, Reply, Request

__all__ = ["PendingCall", "PendingNotification", "RetryState"]


class RetryState:
    """State of a call whose service refuses calls now, or that may be sent again if it is refused."""

    __slots__ = ("_backlog", "_sent_at", "_since_refusal", "attempts", "caller", "retry", "timer")

    def __init__(self, retry: RetryRefused | None, caller: Caller) -> None:
        """Begin before the first attempt.

        Args:
            retry: how the call is sent again; ``None``: not at all.
            caller: sends it again.
        """
        self.retry = retry
        self.caller = caller
        self.attempts = 0
        self.timer: asyncio.TimerHandle | None = None
        """Sends it again."""
        self._backlog: BacklogEstimate | None = None
        self._sent_at = self._since_refusal = 0.0

    def sent(self, backlog: BacklogEstimate | None, now: float) -> None:
        """Count an attempt. The time that it takes goes to ``backlog``."""
        self.attempts += 1
        self._backlog = backlog
        if backlog is not None:
            self._sent_at, self._since_refusal = now, now - backlog.refused_at

    def ended(self, future: asyncio.Future[Reply]) -> None:
        """Called when the call has ended. Only a reply tells how long the service takes."""
        if self.timer is not None:
            self.timer.cancel()
        elif self._backlog is not None and not future.cancelled() and future.exception() is None:
            now = future.get_loop().time()
            self._backlog.took(now - self._sent_at, self._since_refusal, now)


class PendingCall:
    """A call that is being sent, or was sent and has no outcome yet."""

    __slots__ = ("ends_at", "func_name", "future", "lost", "observed", "request", "retry_state", "timeout")

    wants_reply = True
    """Whether a reply ends it, and not the confirm of the broker."""
    resends = True
    """Whether the table sends it again after a lost connection, if it may run twice."""
    answers_at_once = True
    """Whether the time to its end tells how long the queue of its service is."""
    awaited = "reply"
    """What it waits for, for errors."""

    def __init__(
        self,
        request: Request,
        future: asyncio.Future[Reply],
        func_name: str,
        timeout: float | None,
        ends_at: float | None,
        observed: CallObserver | None = None,
    ) -> None:
        """Describe the call.

        Args:
            request: what is sent; it is kept for sending it again.
            future: takes the outcome.
            func_name: the name of the service.
            timeout: the timeout of the call, in seconds.
            ends_at: its deadline on the clock of the event loop; ``None``: none.
            observed: hears of its further attempts; ``None``: nobody does.
        """
        self.request = request
        self.future = future
        self.func_name = func_name
        self.timeout = timeout
        self.ends_at = ends_at
        self.observed = observed
        self.lost: ConnectionLostError | None = None
        """The error of the last attempt whose outcome is unknown, for a call that is sent again after it."""
        self.retry_state: RetryState | None = None
        """Set while its service refuses calls, or if it is sent again when it is refused."""

    @property
    def silent(self) -> bool:
        """Whether no worker has said anything, so that an error should say why, if that is known."""
        return self.wants_reply

    def feed_refused(self, refusal: FeedRefusal, detail: str) -> None:
        """Called when the broker has refused a further message of it; a plain call has none."""

    def send_again(self, caller: Caller, time_left: float | None) -> None:
        """Send it again, with the time that it has left, in seconds."""
        caller.send(self.request._replace(timeout=time_left))

    def lost_by(self, error: ConnectionLostError, *, accepted: bool) -> ConnectionLostError:
        """Return an error of its own for this call, for the loss of the connection.

        Args:
            error: why the connection was lost.
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
        """End the call with ``error``, or with one of its own if the error is that of the connection.

        A ConfigurationError does not concern a request that the broker had confirmed; but its reply can no longer
        arrive, so that it ends with a ConnectionLostError.
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


class PendingNotification(PendingCall):
    """A notification that the broker has not confirmed yet.

    ``ends_at`` is when :func:`notify` gives up; the deadline that travels with it is another.
    """

    __slots__ = ("expires_at",)

    wants_reply = False
    answers_at_once = False
    awaited = "confirm of the broker, so that it may be in the queue and run,"

    expires_at: float | None
    """The deadline that travels with it, on the clock of the event loop; ``None``: none."""

    def send_again(self, caller: Caller, time_left: float | None) -> None:
        """Send it again, with what is left of its own time."""
        own = None if self.expires_at is None else self.expires_at - self.future.get_loop().time()
        if own is None or own > 0:
            caller.notify(self.request._replace(timeout=own))
