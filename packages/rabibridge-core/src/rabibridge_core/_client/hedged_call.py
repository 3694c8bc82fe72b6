"""A call of which a second copy is sent if the first has no answer in time. Other calls do not come this way."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.hedge import BATCH, pushed_back
from rabibridge_core._client.pending import PendingCall
from rabibridge_core._observability.call_context import current_call_var
from rabibridge_core._protocol.headers import CRITICALITY, ERROR_KIND, HEDGE, IDEMPOTENCY_KEY, IDEMPOTENT
from rabibridge_core._protocol.large_bodies import LargeBodyError, off_loop
from rabibridge_core._protocol.payloads import decode_reply, readdress_request
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import CallTimeoutError, RabiBridgeError
from rabibridge_core.plugins.observing import report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rabibridge_core._client.hedge import Hedge, HedgedService
    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.preparation import Preparation
    from rabibridge_core.plugins.observers import CallObserver
    from rabibridge_core.transport import Caller, Headers, Reply

__all__ = ["hedged_call"]

_limited = LimitedLog(get_logger(__name__))
_LONGEST_WAIT = 1.0
"""How long it takes at most, in seconds, until it is tried again to send a copy that could not be sent."""
_TRIES_AT_ONCE = 4
"""How often a second copy is sent without a pause: the broker chooses the worker, which may be that of the first."""


async def hedged_call(
    preparation: Preparation,
    func_name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: AnyOptions,
    policy: Hedge,
    observed: CallObserver | None,
) -> Any:
    """Call ``func_name(*args, **kwargs)`` like :meth:`Client.call`, by two requests if the first takes too long.

    Args:
        preparation: that of the client.
        func_name: the name of the service.
        args: its positional arguments.
        kwargs: its keyword arguments.
        options: how to call it.
        policy: when the second is sent.
        observed: observes it; ``None``: nothing does.

    Raises:
        RabiBridgeError: as :meth:`Client.call`.
        TypeError: as there.
    """
    calls, loop = preparation.client.calls, asyncio.get_running_loop()
    route = preparation.route(func_name, args, kwargs, options)
    calls.silent.called(route)
    route, options = preparation.inherited(func_name, route, options)
    timeout = preparation.timeout(options[1], preparation.call_timeout, inherit=options[5])
    prepared = await preparation.prepare(
        func_name, route, args, kwargs, options, timeout, keyed=True, observed=observed
    )
    time_left = prepared.time_left
    request = prepared.request._replace(timeout=time_left)
    correlation_id, future = request.correlation_id, loop.create_future()
    slot = None if time_left is None else calls.deadlines.add(correlation_id, time_left)
    call = calls.pending[correlation_id] = PendingCall(request, future, func_name, timeout, slot, observed)
    copies = _Copies(preparation, call, preparation.hedges.called(policy, route))
    may_run_twice = IDEMPOTENCY_KEY in (request.headers or {})
    try:
        if calls.refusals.backlogs or options[6] is not None:
            calls.refusals.watch(call, options[6], prepared.caller)
        prepared.caller.send(request)
        if may_run_twice and options[3] is None and _is_hedged(request.headers):
            copies.start()
        reply = await future
        copies.answered()
        if ERROR_KIND not in (
            reply.headers or {}
        ):  # a failure may be quick, and says nothing about how long work takes
            copies.measure()
        calls.silent.unanswered.discard(route)
        calls.idempotency.learn(route, reply.headers or {})
        if not may_run_twice and (reply.headers or {}).get(IDEMPOTENT) is not True:
            _warn(func_name)
        answered = copies.answered_id
        try:
            return decode_reply(preparation.codec, reply, func_name, answered)
        except LargeBodyError:
            return await off_loop(decode_reply, preparation.codec, reply, func_name, answered)
    except BaseException as raised:
        if isinstance(raised, CallTimeoutError):
            copies.measure()
        calls.abandon(call, raised)
        raise
    finally:
        if calls.pending.get(correlation_id) is call:
            del calls.pending[correlation_id]
        copies.end()
        if calls.admission.waiting:
            calls.admission.admit()
        if slot is not None:
            calls.deadlines.discard(correlation_id, slot)
        del future, call, copies  # a frame that keeps the exception which keeps the frame is a cycle


def _is_hedged(headers: Headers | None) -> bool:
    """Tell whether a second copy of a call with these headers may be sent: it multiplies no other hedge."""
    handled = current_call_var.get()
    if handled is not None and handled.headers.get(HEDGE) is True:
        return False
    return (headers or {}).get(CRITICALITY) != BATCH


def _warn(func_name: str) -> None:
    _limited.log(
        f"calls of {func_name!r} have a hedge, and are not known to be idempotent", logging.WARNING,
        "calls of %r are not hedged, since nobody says that they may run twice: call with idempotent=True, or register "
        "the service with it", func_name,
        extra=log_fields("call.not_hedged", service=func_name),
    )  # fmt: skip


class _SecondCopy(PendingCall):
    """The second request of a call. It ends without a word if it is refused or lost: the first one goes on."""

    __slots__ = ()

    resends = False
    answers_at_once = False


class _Copies:
    """The requests of one call: the first, and the second as soon as there is one."""

    __slots__ = (
        "_calls",
        "_delay",
        "_first",
        "_preparation",
        "_second",
        "_sent_at",
        "_service",
        "_timer",
        "_tries",
        "_won",
    )

    def __init__(self, preparation: Preparation, first: PendingCall, service: HedgedService) -> None:
        self._preparation, self._calls = preparation, preparation.client.calls
        self._first, self._service = first, service
        self._second: _SecondCopy | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sent_at = first.future.get_loop().time()
        self._delay, self._tries, self._won = 0.0, 0, False

    @property
    def answered_id(self) -> bytes:
        """The correlation id of the request that was answered: signatures are for one."""
        answered = self._second if self._won and self._second is not None else self._first
        return answered.request.correlation_id

    def start(self) -> None:
        """Called when the first was sent."""
        delay = self._service.delay(self._sent_at)
        if delay is not None:
            self._delay = delay
            self._arm(delay)

    def answered(self) -> None:
        """Called when there is an answer."""
        if self._tries and (observed := self._first.observed) is not None:
            report(partial(observed.hedge_answered, second=self._won))

    def measure(self) -> None:
        """Called when there is an answer, or the time is over."""
        now = self._first.future.get_loop().time()
        self._service.latencies.add(now - self._sent_at, now)

    def end(self) -> None:
        """Called when the call has ended: cancel the request that was not answered."""
        if self._timer is not None:
            self._timer.cancel()
        second, calls = self._second, self._calls
        if second is None:
            return
        correlation_id = second.request.correlation_id
        if calls.pending.get(correlation_id) is second:
            del calls.pending[correlation_id]
        if self._won:
            calls.cancel(self._first)
        elif not second.future.done():
            second.future.cancel()
            calls.cancel(second)

    def _arm(self, seconds: float) -> None:
        # In a new context: the timer would keep that of the task until it fires.
        loop = self._first.future.get_loop()
        self._timer = loop.call_later(seconds, self._due, context=Context())

    def _time_left(self, now: float) -> float | None:
        timeout = self._first.request.timeout
        return None if timeout is None else timeout - (now - self._sent_at)

    def _due(self) -> None:
        first, calls, caller = self._first, self._calls, self._calls.caller
        state, now = first.retry_state, first.future.get_loop().time()
        time_left = self._time_left(now)
        if first.future.done() or (time_left is not None and time_left <= 0):
            return
        if first.lost is not None or calls.refusals.waits(first) or (state is not None and state.attempts > 1):
            return  # it was refused or lost, and is sent again: a service that pushes back gets no further copy
        if (
            caller is None
            or not calls.sends_at_once
            or first.request.correlation_id in caller.unconfirmed  # it may still be refused
            or pushed_back(calls.refusals.backlogs, first.request.routing_key, now)
            or not (self._tries or self._service.spend(late=now - self._sent_at >= 2 * self._delay))
        ):
            self._arm(min(now - self._sent_at, max(_LONGEST_WAIT, self._delay)))
            return
        if not self._tries:
            self._preparation.hedges.sent += 1
        self._send(caller, time_left)

    def _send(self, caller: Caller, time_left: float | None) -> None:
        first, calls = self._first, self._calls
        self._tries += 1
        correlation_id = calls.free_id(next(calls.ids))
        request = readdress_request(self._preparation.codec, first.request, correlation_id)
        request = request._replace(timeout=time_left, headers={**(request.headers or {}), HEDGE: True})
        future: asyncio.Future[Reply] = first.future.get_loop().create_future()
        second = calls.pending[correlation_id] = _SecondCopy(request, future, first.func_name, first.timeout, None)
        future.add_done_callback(self._second_ended)
        self._second = second
        if first.observed is not None:
            report(first.observed.hedge_sent, correlation_id, first.future.get_loop().time() - self._sent_at)
        try:
            caller.send(request)
        except RabiBridgeError as error:  # the first one goes on, or is told of it as well
            future.set_exception(error)

    def _second_ended(self, future: asyncio.Future[Reply]) -> None:
        if future.cancelled() or future.exception() is not None:
            return  # refused or lost
        reply, first = future.result(), self._first
        if first.future.done():
            return
        if (reply.headers or {}).get(HEDGE) is True:
            self._declined()
            return
        self._won = True
        self._preparation.hedges.won += 1
        first.future.set_result(reply)

    def _declined(self) -> None:
        """Called when the second has come to the worker of the first: send it again, for another one.

        Where it comes to that worker again and again, as where workers race for each request, or if there is only one
        worker, the pauses double: each is as long as the call has taken.
        """
        second, calls, first = self._second, self._calls, self._first
        self._second = None
        if second is not None:
            calls.pending.pop(second.request.correlation_id, None)
        caller = calls.caller
        now = first.future.get_loop().time()
        if self._tries >= _TRIES_AT_ONCE:
            self._arm(now - self._sent_at)
            return
        time_left = self._time_left(now)
        if caller is not None and calls.sends_at_once and (time_left is None or time_left > 0):
            self._send(caller, time_left)
