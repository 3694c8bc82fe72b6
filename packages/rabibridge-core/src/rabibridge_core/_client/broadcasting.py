"""Sends broadcasts, and reads their replies."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.broadcast import Broadcast, BroadcastReply
from rabibridge_core._client.routes import kind_of
from rabibridge_core._client.timeouts import call_timeout_error
from rabibridge_core._protocol.broker_texts import NO_ROUTE
from rabibridge_core._protocol.large_bodies import LargeBodyError, off_loop
from rabibridge_core._protocol.payloads import decode_reply
from rabibridge_core.errors import ConnectionLostError, RabiBridgeError
from rabibridge_core.plugins.observing import report, start_call

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from rabibridge_core._client.broadcast_state import BroadcastState
    from rabibridge_core._client.call_table import CallTable
    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.preparation import Preparation, Prepared
    from rabibridge_core.plugins.observers import CallObserver
    from rabibridge_core.transport import Reply

__all__ = ["DEFAULT_TIMEOUT", "Broadcaster"]

DEFAULT_TIMEOUT = 10.0
"""Timeout of broadcasts that are given none, in seconds, unless ``call_timeout`` is shorter: a single worker that
stands still makes a broadcast last as long as that."""
_FIRST_RESEND, _MAX_RESEND = 0.5, 8.0
"""After how many seconds it is sent again to workers that have said nothing: first, and at last."""


class Broadcaster:
    """Sends broadcasts of one client."""

    def __init__(self, preparation: Preparation) -> None:
        """Send what ``preparation`` encodes."""
        call_timeout = preparation.call_timeout
        self._preparation = preparation
        self._timeout = DEFAULT_TIMEOUT if call_timeout is None else min(DEFAULT_TIMEOUT, call_timeout)

    def broadcast(
        self,
        func_name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: AnyOptions,
        adapt: Callable[[Any], Any] | None = None,
    ) -> Broadcast[Any]:
        """Return a broadcast of ``func_name(*args, **kwargs)``, to be iterated over.

        Args:
            func_name: the name of the service.
            args: positional arguments.
            kwargs: keyword arguments.
            options: how to call it.
            adapt: makes of each result what the caller gets; ``None``: it stays as it is.

        Raises:
            ConfigurationError: no service can have that name, or an option is out of its range.
            TypeError: ``args`` is not a tuple or list, or ``kwargs`` is not a dict.
        """
        return Broadcast(self.sender(func_name, args, kwargs, options, adapt), func_name)

    def sender(
        self,
        func_name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: AnyOptions,
        adapt: Callable[[Any], Any] | None = None,
    ) -> Callable[[BroadcastState], AsyncGenerator[BroadcastReply[Any], None]]:
        """Return what sends it, and gives the replies; the arguments are those of :meth:`broadcast`.

        Raises:
            ConfigurationError: as there.
            TypeError: as there.
        """
        preparation = self._preparation
        options = (kind_of(options[0]), *options[1:])  # every worker gets it, whatever its class
        route = preparation.route(func_name, args, kwargs, options)
        _, options = preparation.inherited(func_name, route, options)
        options, _ = preparation.joined(func_name, options)  # it takes no place of the calls of its service
        preparation.timeout(options[1], self._timeout, inherit=False)

        def send(state: BroadcastState) -> AsyncGenerator[BroadcastReply[Any], None]:
            run = partial(self._run, state, func_name, route, args, kwargs, options, adapt)
            observer = preparation.client.observer
            return (
                run(None) if observer is None else _observed(start_call(observer, "broadcast", func_name), state, run)
            )

        return send

    async def _run(
        self,
        state: BroadcastState,
        func_name: str,
        route: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: AnyOptions,
        adapt: Callable[[Any], Any] | None,
        observed: CallObserver | None,
    ) -> AsyncGenerator[BroadcastReply[Any], None]:
        preparation, calls = self._preparation, self._preparation.client.calls
        timeout = preparation.timeout(options[1], self._timeout, inherit=options[5])
        prepared = await preparation.prepare(
            func_name, route, args, kwargs, options, timeout, keyed=False, observed=observed
        )
        correlation_id, caller = prepared.request.correlation_id, prepared.caller
        sending = _Sending(state, prepared, func_name, calls)
        calls.broadcasts[correlation_id] = state
        try:
            await sending.send_first()
            while True:
                while state.answers:
                    worker, reply = state.answers.popleft()
                    yield await self._read(func_name, worker, reply, correlation_id, adapt)
                if state.error is not None:
                    raise state.error
                if state.complete or not await sending.proceed():
                    break
            if not state.accepted:
                why = caller.why_paused
                raise call_timeout_error(
                    func_name, correlation_id, timeout, why, sent=True, awaited="confirm of the broker"
                )
        finally:
            del calls.broadcasts[correlation_id]
            if state.routing_key and not state.complete:
                caller.cancel(route, correlation_id)

    async def _read(
        self, func_name: str, worker: str, reply: Reply, correlation_id: bytes, adapt: Callable[[Any], Any] | None
    ) -> BroadcastReply[Any]:
        codec = self._preparation.codec
        try:
            try:
                result = decode_reply(codec, reply, func_name, correlation_id)
            except LargeBodyError:
                result = await off_loop(decode_reply, codec, reply, func_name, correlation_id)
            return BroadcastReply(worker, result if adapt is None else adapt(result), None)
        except ConnectionLostError as error:
            stopped = ConnectionLostError(
                f"broadcast of {func_name!r}: {worker} has stopped before it was done; it may have run there",
                accepted=True,
            )
            stopped.__cause__ = error
            return BroadcastReply(worker, None, stopped)
        except RabiBridgeError as error:
            return BroadcastReply(worker, None, error)


async def _observed(
    observed: CallObserver,
    state: BroadcastState,
    run: Callable[[CallObserver], AsyncGenerator[BroadcastReply[Any], None]],
) -> AsyncGenerator[BroadcastReply[Any], None]:
    error: BaseException | None = None
    replies = run(observed)
    try:
        async for reply in replies:
            yield reply
    except BaseException as raised:
        error = raised
        raise
    finally:
        await replies.aclose()
        report(observed.ended, error, len(state.answered))
        error = None  # a frame that keeps the exception which keeps the frame is a cycle


class _Sending:
    """Sends one broadcast, until every worker that there is has said that it has it.

    How many workers there are is asked before and after it is sent, since workers come and go. It is sent again while
    some have said nothing: to those that have started meanwhile, and to those whose connection was lost; a worker runs
    it once, however often it gets it.
    """

    def __init__(
        self,
        state: BroadcastState,
        prepared: Prepared,
        func_name: str,
        calls: CallTable,
    ) -> None:
        self._state = state
        self._request = prepared.request._replace(persistent=False)
        self._caller = prepared.caller
        self._func_name = func_name
        self._consumers: Callable[..., asyncio.Task[int | None]] = calls.silent.counts.count
        self._refusals = calls.refusals
        self._loop = asyncio.get_running_loop()
        self._ends_at = math.inf if prepared.time_left is None else self._loop.time() + prepared.time_left
        self._before: int | None = None
        self._look: asyncio.Task[int | None] | None = None
        self._delay = _FIRST_RESEND
        self._next_at = math.inf
        self._counted_once = False

    async def send_first(self) -> None:
        """Count the workers, then send."""
        look = self._start_look()
        await asyncio.wait((look,), timeout=None if math.isinf(self._ends_at) else self._ends_at - self._loop.time())
        self._before = look.result() if look.done() else None
        self._send()
        self._next_at = self._loop.time() + self._delay

    async def proceed(self) -> bool:
        """Wait until something has changed; return whether there is still time."""
        state, now = self._state, self._loop.time()
        if now >= self._ends_at:
            return False
        if self._look is not None and self._look.done():
            self._counted(self._look.result())
            self._look = None
            return True
        if state.accepted and self._look is None and (not self._counted_once or now >= self._next_at):
            self._look = self._start_look()
        # Before it is accepted, only the broker has something to do, and may take long.
        asks_again = state.accepted and self._look is None
        until = min(self._ends_at, self._next_at) if asks_again else self._ends_at
        await state.changed(self._look, until - now)
        return True

    def _counted(self, consumers: int | None) -> None:
        """Called with the number of workers that there are now."""
        state, now = self._state, self._loop.time()
        self._counted_once = True
        if now < self._next_at:  # the first look: who was there before may be about to say that it has it
            if consumers is not None or self._before is not None:
                state.consumers = max(consumers or 0, self._before or 0)
            self._refuse_without_service(consumers)
            return
        if consumers is not None:
            state.consumers = consumers
        self._refuse_without_service(consumers)
        if state.silent != 0 and not self._caller.paused:
            self._send()
        self._delay = min(_MAX_RESEND, 2 * self._delay)
        self._next_at = now + self._delay

    def _refuse_without_service(self, consumers: int | None) -> None:
        """Check that there is a service: a worker that can get it, or a queue.

        Raises:
            NoRouteError: there is neither.
        """
        if self._state.no_route is not None and consumers is None:
            message = f"broadcast of {self._func_name!r} refused: {NO_ROUTE}"
            no_route, correlation_id = self._state.no_route, self._request.correlation_id
            raise self._refusals.no_route(no_route, message, self._func_name, correlation_id)

    def _send(self) -> None:
        time_left = None if math.isinf(self._ends_at) else self._ends_at - self._loop.time()
        if time_left is None or time_left > 0:
            self._state.no_route = None
            self._caller.broadcast(self._request._replace(timeout=time_left))
            self._state.routing_key = self._request.routing_key

    def _start_look(self) -> asyncio.Task[int | None]:
        request = self._request
        return self._consumers(self._func_name, request.routing_key, self._caller)
