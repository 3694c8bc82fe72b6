"""What happens to refused calls: an error that says when to try again, or another attempt."""

from __future__ import annotations

import math
import random
from contextvars import Context
from typing import TYPE_CHECKING

from rabibridge_core._client.backlog import BacklogEstimates
from rabibridge_core._client.pending import RetryState
from rabibridge_core._client.retry import RetryBudgets
from rabibridge_core._clock import monotonic
from rabibridge_core._protocol.headers import REFUSAL
from rabibridge_core._protocol.naming import split_class
from rabibridge_core._protocol.payloads import decode_reply
from rabibridge_core._protocol.remote_errors import FULL
from rabibridge_core.errors import ConnectionLostError, QueueFullError
from rabibridge_core.plugins.observing import report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rabibridge_core._client.pending import PendingCall
    from rabibridge_core._client.resend import ResendQueue
    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core._client.retry_budget import RetryBudget
    from rabibridge_core._codec.codec import Codec
    from rabibridge_core.errors import NoRouteError
    from rabibridge_core.transport import Caller, Refusal, Reply

__all__ = ["RefusalHandler"]

_ACCEPTED_BASE, _ACCEPTED_CAP = 0.05, 1.0
"""Shortest and longest wait, in seconds, before a call that the broker had accepted once is sent again."""


def _queue_full() -> type[QueueFullError]:
    return QueueFullError


class RefusalHandler:
    """Ends refused calls with their error, or sends them again later.

    A call that waits to be sent again stays in the table of pending calls, with its future and its deadline. After its
    wait it goes to the resend queue, which sends it as soon as the caller accepts requests.
    """

    def __init__(self, resend: ResendQueue, name: str) -> None:
        """Start without any refusal.

        Args:
            resend: queue through which retries are sent.
            name: client name, used in errors.
        """
        self.backlogs = BacklogEstimates()
        """While it is empty, only calls with a retry policy need to be watched."""
        self.brokers = ""
        """Where services are looked for, for errors; empty: not known."""
        self.codec: Codec | None = None
        """Reads what workers say of refused calls; ``None``: nothing is read here."""
        self.queue_full: Callable[[], type[QueueFullError]] = _queue_full
        """Returns the class of the error with which the transport refuses calls."""
        self._budgets = RetryBudgets()
        self._resend = resend
        self._name = name

    def __contains__(self, call: PendingCall) -> bool:
        """Tell whether the call waits to be retried, or did when it ended."""
        return call.retry_state is not None and call.retry_state.timer is not None

    def waits(self, call: PendingCall) -> bool:
        """Tell whether the call waits to be sent again after a refusal or a lost connection; no worker has it then."""
        return call in self or call in self._resend

    def sends(self, call: PendingCall, retry: RetryRefused | None, caller: Caller) -> bool:
        """Do what :meth:`watch` does, and tell whether the call is sent; else it is refused here."""
        self.watch(call, retry, caller)
        backlog = self.backlogs.get(call.request.routing_key)
        if backlog is None or backlog.throttle is None or backlog.throttle.sends(call.future.get_loop().time()):
            return True
        self.refused(call, self.queue_full(), "workers refuse many of its calls now, so that this one was not sent")
        return False

    def watch(self, call: PendingCall, retry: RetryRefused | None, caller: Caller) -> None:
        """Called before ``caller`` sends a call for the first time; keeps a retry state for it if one is needed."""
        route, now = call.request.routing_key, call.future.get_loop().time()
        backlog = self.backlogs.watched(route, now) if call.answers_at_once else None
        if retry is not None:
            self._budgets.earn(retry, route, now)
        elif backlog is None:
            return
        call.retry_state = RetryState(retry, caller)
        call.retry_state.sent(backlog, now)
        call.future.add_done_callback(call.retry_state.ended)

    def spend_shared(self, budget: RetryBudget) -> bool:
        """Take a retry from a budget that all services share; return whether there was one."""
        return self._budgets.spend_shared(budget, monotonic())

    def takes(self, call: PendingCall, reply: Reply) -> bool:
        """Called with a reply that refuses a call; tell whether it was refused as its queue would have done it.

        So it is if it has waited for too long, or its turn would come too late. Any other reply is for the task of the
        call.
        """
        request, codec = call.request, self.codec
        if codec is None or not call.answers_at_once:
            return False
        try:
            decode_reply(codec, reply, call.func_name, request.correlation_id)
        except QueueFullError as error:
            _, _, detail = str(error).partition(": ")
            exact = (reply.headers or {}).get(REFUSAL) == FULL
            self.refused(call, self.queue_full(), detail, error.retry_after, exact=exact)
            now = call.future.get_loop().time()
            self.backlogs.refused_by_worker(request.routing_key, now, error.retry_after or 0.0)
            return True
        except BaseException:  # noqa: BLE001 - it is raised again where the task of the call reads the reply
            return False
        return False

    def refused(
        self,
        call: PendingCall,
        refusal: Refusal,
        detail: str,
        retry_after: float | None = None,
        *,
        exact: bool = False,
    ) -> None:
        """Called when a call was refused: end it with its error, or schedule a retry.

        Args:
            call: the call.
            refusal: the class of its error.
            detail: why it was refused.
            retry_after: what a worker says, in seconds; ``None``: nothing.
            exact: whether the worker knows it, so that it stands above what is measured here.
        """
        attempts = 1 if call.retry_state is None else call.retry_state.attempts
        times = f" {attempts} times" if attempts > 1 else ""
        _, criticality = split_class(call.request.routing_key)
        what = f"call of {call.func_name!r}" + (f", class {criticality!r}," if criticality else "")
        message, correlation_id = f"{what} refused{times}: {detail}", call.request.correlation_id
        if not issubclass(refusal, QueueFullError):
            call.future.set_exception(self.no_route(refusal, message, call.func_name, correlation_id))
            return
        estimate = self.backlogs.refused(call.request.routing_key, call.future.get_loop().time())
        retry_after = retry_after if exact or estimate is None else estimate
        why_not = self._schedule(call, retry_after)
        if why_not is None:
            return
        full = refusal(message + why_not, func_name=call.func_name, correlation_id=correlation_id.decode())
        full.retry_after, full.attempts = retry_after, attempts
        call.future.set_exception(full)

    def no_route(
        self, refusal: type[NoRouteError], message: str, func_name: str, correlation_id: bytes
    ) -> NoRouteError:
        """Return the error of a call or broadcast whose service does not exist; its note says where."""
        error = refusal(message, func_name=func_name, correlation_id=correlation_id.decode())
        if self.brokers:
            error.add_note(f"It was looked for on {self.brokers}.")
        return error

    def close(self, calls: Iterable[PendingCall]) -> None:
        """End those of the pending calls that wait to be retried."""
        for call in calls:
            if self.waits(call) and call.lost is None and not call.future.done():
                why = f"{self._name} was closed while the call waited to be sent again; it had been refused"
                call.end(ConnectionLostError(why, executed=False))

    def _schedule(self, call: PendingCall, retry_after: float | None) -> str | None:
        """Schedule a retry and return ``None``; or return why there is none, as the end of an error message."""
        if call.lost is not None and call.lost.accepted and self._resend.caller is not None:
            self._schedule_accepted(call, self._resend.caller)
            return None
        state = call.retry_state
        if state is None or state.retry is None:
            return ""
        retry, loop = state.retry, call.future.get_loop()
        wait = random.random() * retry.longest_wait(state.attempts, retry_after)  # noqa: S311 - jitter, which nobody gains by guessing
        time_left = math.inf if call.ends_at is None else call.ends_at - loop.time()
        if state.attempts >= retry.attempts:
            return f"; not sent again after attempts={retry.attempts}"
        if wait + (retry_after or 0.0) >= time_left:  # it would take a place in the queue and be too late
            return "; not sent again, since its time would be over"
        if not self._budgets.spend(retry, call.request.routing_key, loop.time()):
            whose = "its service" if retry.budget is None else "the client"
            return f"; not sent again, since the retry budget of {whose} is spent"
        self._send_later(call, state, wait)
        return None

    def _schedule_accepted(self, call: PendingCall, caller: Caller) -> None:
        """Schedule another attempt within the time of a call that is in the system already, by its first attempt.

        The queue may be full because of that one, whose reply can no longer arrive. It is no additional load for long:
        the worker answers the next attempt without running it again.
        """
        state = call.retry_state
        if state is None:
            state = call.retry_state = RetryState(None, caller)
            call.future.add_done_callback(state.ended)
        longest = min(_ACCEPTED_CAP, _ACCEPTED_BASE * 2.0 ** min(state.attempts, 8))
        self._send_later(call, state, random.uniform(longest / 2, longest))  # noqa: S311 - jitter, which nobody gains by guessing

    def _send_later(self, call: PendingCall, state: RetryState, wait: float) -> None:
        # In a new context: the timer would keep the context of the task that reads the socket until it fires.
        if call.observed is not None:
            report(call.observed.refused, wait)
        loop = call.future.get_loop()
        state.timer = loop.call_later(wait, self._send_again, call, state, context=Context())

    def _send_again(self, call: PendingCall, state: RetryState) -> None:
        state.timer = None
        now = call.future.get_loop().time()
        # The time that it waits for a paused caller says nothing about the service.
        backlog = (
            None
            if state.caller.paused or not call.answers_at_once
            else self.backlogs.watched(call.request.routing_key, now)
        )
        state.sent(backlog, now)
        self._resend.again(call, state.caller)
