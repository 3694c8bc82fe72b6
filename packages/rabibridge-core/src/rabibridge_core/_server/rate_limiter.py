"""Lets the calls of a service start no faster than its rate allows, of which this worker has a share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._clock import monotonic
from rabibridge_core._server.exceptions import NotStartedError
from rabibridge_core._server.rate import RateShare
from rabibridge_core.errors import ConfigurationError, QueueFullError
from rabibridge_core.transport import ConsumerCounter

if TYPE_CHECKING:
    from collections.abc import Collection

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import Transport

__all__ = ["RateLimiter", "rate_limiter_of"]


class RateLimiter:
    """Makes calls wait for a token, in order of arrival, and refuses those that would have to wait too long.

    It outlives a change of its service, so that the calls after the change do not start with new tokens.
    """

    __slots__ = ("_loop", "_requeues", "_service", "_timer", "_waiting", "refused", "share")

    def __init__(self, service: str, total: float) -> None:
        """Limit the service of this name to ``total`` calls per second; must be made on the running event loop."""
        self.share = RateShare(total)
        self.refused = 0
        """How many calls it has refused."""
        self._service = service
        self._requeues = True
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[ActiveRequest, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> Collection[ActiveRequest]:
        """The calls that wait for a token, the first one first."""
        return self._waiting.keys()

    def use(self, schema: ServiceSchema) -> None:
        """Limit this version of the service from now on."""
        assert schema.rate is not None
        self._requeues = schema.delivery == "at-least-once"
        if schema.rate != self.share.total:
            self.share.resize(schema.rate, monotonic())
            self._changed()

    def observed(self, workers: int) -> None:
        """Called with the number of workers of the service; 0: this worker receives no calls now."""
        if workers:
            self.share.observed(workers, monotonic())
        else:
            self.share.left()
        self._changed()

    def _changed(self) -> None:
        now, place = monotonic(), 1
        for active, turn in list(self._waiting.items()):
            wait = self.share.wait(now, place)
            if turn.done() or _fits(active, wait, now):
                place += 1
            else:
                turn.set_exception(self._refusal(active, wait, now))
                del self._waiting[active]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._arm()

    async def admit(self, active: ActiveRequest) -> None:
        """Wait until a call may start.

        Raises:
            QueueFullError: it would have to wait longer than its caller does.
            NotStartedError: so it would, and other workers may have a token for it: it is marked as given back.
        """
        now = monotonic()
        if not self._waiting and self.share.take(now):
            return
        wait = self.share.wait(now, len(self._waiting) + 1)
        if not _fits(active, wait, now):
            raise self._refusal(active, wait, now)
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting[active] = turn
        self._arm()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.share.give_back()
                self._start_next()
            raise
        finally:
            self._waiting.pop(active, None)

    def _refusal(self, active: ActiveRequest, wait: float, now: float) -> Exception:
        """Return the error of a call that would have to wait longer than its caller does."""
        if self._requeues and self.share.joining(now) and not active.request.redelivered:
            active.stop_reason = "requeued"  # each one once: workers that have been there for longer may take it
            return NotStartedError()
        assert active.ends_at is not None
        self.refused += 1
        return QueueFullError(
            f"{self._service!r} starts at most {self.share.total:g} calls/s, and this one would have to wait "
            f"{wait:.3g} s for its turn; it has {max(0.0, active.ends_at - now):.3g} s left",
            func_name=self._service,
            retry_after=wait,
        )

    def _arm(self) -> None:
        if self._timer is None and self._waiting and self.share.known:
            self._timer = self._loop.call_later(self.share.wait(monotonic(), 1), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._start_next()

    def _start_next(self) -> None:
        now = monotonic()
        while self._waiting:
            active = next(iter(self._waiting))
            if (turn := self._waiting[active]).done():  # it was cancelled, and has not run since
                del self._waiting[active]
            elif self.share.take(now):
                del self._waiting[active]
                turn.set_result(None)
            else:
                break
        self._arm()


def _fits(active: ActiveRequest, wait: float, now: float) -> bool:
    return active.ends_at is None or wait <= active.ends_at - now


def rate_limiter_of(schema: ServiceSchema, known: dict[str, RateLimiter], transport: Transport) -> RateLimiter | None:
    """Return the limiter of a service, of those that are ``known`` or a new one; ``None``: it has no rate.

    Raises:
        ConfigurationError: it has one, and the transport cannot count the workers that share it.
    """
    if schema.rate is None:
        known.pop(schema.name, None)
        return None
    if not isinstance(transport, ConsumerCounter):
        raise ConfigurationError(
            f"service {schema.name!r} has rate=, which its workers share, and {type(transport).__name__} cannot count "
            "them: leave rate= out"
        )
    limiter = known.get(schema.name)
    if limiter is None:
        limiter = known[schema.name] = RateLimiter(schema.name, schema.rate)
    limiter.use(schema)
    return limiter
