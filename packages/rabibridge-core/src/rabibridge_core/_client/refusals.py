"""What becomes of calls that are refused: an error that says when to try again, or another attempt."""

from __future__ import annotations

import math
import random
from contextvars import Context
from typing import TYPE_CHECKING

from rabibridge_core._client.backlog import BacklogEstimates
from rabibridge_core._client.retry import RetryBudgets
from rabibridge_core.errors import ConnectionLostError, QueueFullError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from rabibridge_core._client.backlog import BacklogEstimate
    from rabibridge_core._client.pending import PendingCall
    from rabibridge_core._client.resend import ResendQueue
    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core.transport import Caller, Refusal, Reply

__all__ = ["RefusalHandler", "RetryState"]


class RetryState:
    """What is kept of a call whose service refuses calls now, or that may be sent again if it is refused."""

    __slots__ = ("_backlog", "_sent_at", "_since_refusal", "attempts", "caller", "retry", "timer")

    def __init__(self, retry: RetryRefused | None, caller: Caller) -> None:
        """Watch one that ``caller`` sends.

        Args:
            retry: how it is sent again; ``None``: it is not.
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
        """Begin an attempt; its time goes to ``backlog``."""
        self.attempts += 1
        self._backlog = backlog
        if backlog is not None:
            self._sent_at, self._since_refusal = now, now - backlog.refused_at

    def ended(self, future: asyncio.Future[Reply]) -> None:
        """Hear that the call has ended: only a reply tells how long the service takes."""
        if self.timer is not None:
            self.timer.cancel()
        elif self._backlog is not None and not future.cancelled() and future.exception() is None:
            now = future.get_loop().time()
            self._backlog.took(now - self._sent_at, self._since_refusal, now)


class RefusalHandler:
    """Ends refused calls with their error, or sends them again later.

    A call that waits to be sent again stays in the table of pending calls, with its future and its deadline. When the
    wait is over it goes to those that are sent as soon as the caller takes requests.
    """

    def __init__(self, resending: ResendQueue, name: str) -> None:
        """Let ``resending`` send; ``name`` is the client's."""
        self.backlogs = BacklogEstimates()
        """While there is none, only calls that may be sent again need be watched."""
        self._budgets = RetryBudgets()
        self._resending = resending
        self._name = name

    def __contains__(self, call: PendingCall) -> bool:
        """Tell whether the call waits to be sent again, or did when it ended."""
        return call.watch is not None and call.watch.timer is not None

    def waits(self, call: PendingCall) -> bool:
        """Tell whether the call waits to be sent again, after a refusal or a lost connection: no worker has it then."""
        return call in self or call in self._resending

    def watch(self, call: PendingCall, retry: RetryRefused | None, caller: Caller) -> None:
        """Watch a call that ``caller`` is about to send for the first time, if there is reason to."""
        route, now = call.request.routing_key, call.future.get_loop().time()
        backlog = self.backlogs.watched(route, now)
        if retry is not None:
            self._budgets.earn(retry, route)
        elif backlog is None:
            return
        call.watch = RetryState(retry, caller)
        call.watch.sent(backlog, now)
        call.future.add_done_callback(call.watch.ended)

    def refused(self, call: PendingCall, refusal: Refusal, detail: str) -> None:
        """End a call that was refused with its error, or see to it that it is sent again."""
        attempts = 1 if call.watch is None else call.watch.attempts
        times = f" {attempts} times" if attempts > 1 else ""
        message, correlation_id = f"call of {call.func_name!r} refused{times}: {detail}", call.request.correlation_id
        if not issubclass(refusal, QueueFullError):
            error = refusal(message, func_name=call.func_name, correlation_id=correlation_id.decode())
            call.future.set_exception(error)
            return
        retry_after = self.backlogs.refused(call.request.routing_key, call.future.get_loop().time())
        why_not = self._retry(call, call.watch, retry_after)
        if why_not is None:
            return
        full = refusal(message + why_not, func_name=call.func_name, correlation_id=correlation_id.decode())
        full.retry_after, full.attempts = retry_after, attempts
        call.future.set_exception(full)

    def close(self, calls: Iterable[PendingCall]) -> None:
        """End those of the pending calls that wait to be sent again."""
        for call in calls:
            if self.waits(call) and call.lost is None and not call.future.done():
                why = f"{self._name} was closed while the call waited to be sent again; it had been refused"
                call.end(ConnectionLostError(why, executed=False))

    def _retry(self, call: PendingCall, watch: RetryState | None, retry_after: float | None) -> str | None:
        """Let the call be sent again after a while; or say why it is not, as the end of a sentence."""
        if watch is None or watch.retry is None:
            return ""
        retry, loop = watch.retry, call.future.get_loop()
        wait = random.random() * retry.longest_wait(watch.attempts, retry_after)
        time_left = math.inf if call.ends_at is None else call.ends_at - loop.time()
        if watch.attempts >= retry.attempts:
            return f"; not sent again after attempts={retry.attempts}"
        if wait + (retry_after or 0.0) >= time_left:  # it would take a place in the queue and be too late
            return "; not sent again, since its time would be over"
        if not self._budgets.spend(retry, call.request.routing_key):
            return "; not sent again, since the retry budget of its service is spent"
        # In a context of its own: that of whoever reads the socket would be kept until the wait is over.
        watch.timer = loop.call_later(wait, self._send_again, call, watch, context=Context())
        return None

    def _send_again(self, call: PendingCall, watch: RetryState) -> None:
        watch.timer = None
        now = call.future.get_loop().time()
        # What it would wait for a caller that takes no requests has nothing to do with the service.
        backlog = None if watch.caller.paused else self.backlogs.watched(call.request.routing_key, now)
        watch.sent(backlog, now)
        self._resending.again(call, watch.caller)
