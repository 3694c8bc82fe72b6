"""The client engine: from a function name and arguments to a result or one error."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.arguments import check_arguments, check_options
from rabibridge_core._client.call_table import CallTable
from rabibridge_core._client.client_metrics import measure_client, stop_measuring
from rabibridge_core._client.pending import PendingCall
from rabibridge_core._client.preparation import Preparation
from rabibridge_core._client.rare_calls import rare_call
from rabibridge_core._client.rare_options import RareOptions
from rabibridge_core._client.routes import RouteCache
from rabibridge_core._client.timeouts import TIMEOUT_MAX, call_timeout_error, normalize_timeout, seconds_of
from rabibridge_core._client.upload_arguments import holds_upload
from rabibridge_core._concurrency.background import CloseOnce, SharedTask
from rabibridge_core._concurrency.home_loop import HomeLoop, running_loop
from rabibridge_core._observability.call_context import current_call_var
from rabibridge_core._observability.health import Health
from rabibridge_core._protocol.headers import check_call_headers, check_idempotency_key
from rabibridge_core._protocol.large_bodies import LargeBodyError, off_loop
from rabibridge_core._protocol.payloads import decode_reply, encode_request
from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.plugins.observers import CallHeaders
from rabibridge_core.plugins.observing import observe_started, start_call, with_headers
from rabibridge_core.transport import ConnectionState, Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._codec.codec import Codec
    from rabibridge_core.plugins.call_hooks import CallHooks
    from rabibridge_core.plugins.observers import CallObserver
    from rabibridge_core.transport import Caller, Reply, Transport

__all__ = ["Client"]

_SEQUENCES = (tuple, list)
_running_loop = asyncio._get_running_loop  # None where none runs
_new_tuple = tuple.__new__  # takes half the time of a NamedTuple's constructor


class Client:
    """Calls functions in other processes over a transport.

    Every call ends: with the result, with one error of :mod:`rabibridge_core.errors`, or with the cancellation of its
    task. However it ends, it leaves nothing behind here; if nobody waits for it any longer, its workers are told.
    """

    def __init__(
        self,
        transport: Transport,
        codec: Codec,
        *,
        hooks: CallHooks,
        name: str,
        max_pending: int = 65_536,
        call_timeout: float | None = None,
        home: HomeLoop | None = None,
    ) -> None:
        """Own ``transport``: it is connected and closed with this client.

        Args:
            transport: where calls go.
            codec: converts arguments and results.
            hooks: plug-ins that observe calls.
            name: its name in logs and errors.
            max_pending: the number of calls that may be pending at a time; further calls wait in FIFO order.
            call_timeout: timeout of calls that are given none, in seconds; ``None``: no limit.
            home: the event loop that the client is connected on; ``None``: the one of :meth:`connect`.
        """
        self.transport, self.name, self._codec = transport, name, codec
        self.observer = hooks.client
        """Observes calls; ``None``: nothing does."""
        self.call_timeout = call_timeout
        self.calls = calls = CallTable(max_pending=max_pending, name=name)
        """The table of pending calls; the transport reports to it."""
        calls.refusals.codec = codec
        # Parts of the table that every call uses: one attribute less on the way to each.
        self._admission, self._backlogs, self._pending = calls.admission, calls.refusals.backlogs, calls.pending
        self._idempotency, self._unanswered, self._ids = calls.idempotency, calls.silent.unanswered, calls.ids
        self._routes, self._home = RouteCache(calls.classes), home or HomeLoop(name)
        self.preparation = Preparation(self, codec, call_timeout)
        self._measured = measure_client(transport, calls, self.preparation)
        self._connecting, self._closing = SharedTask(f"{name}-connect"), CloseOnce()

    def __repr__(self) -> str:
        """Show the state and the number of pending calls."""
        return f"<{type(self).__name__} {self.name!r} {self.transport.state.value}, {len(self._pending)} pending>"

    @property
    def pending(self) -> int:
        """The number of calls that wait for their reply."""
        return len(self._pending)

    @property
    def stray_replies(self) -> int:
        """The number of replies that matched no pending call: late, duplicate or forged ones."""
        return self.calls.stray_replies

    @property
    def correlation_id(self) -> str:
        """An id that no call has."""
        return next(self._ids).decode()

    async def connect(self) -> None:
        """Connect; no effect when connected.

        Raises:
            ConnectionLostError: no broker could be reached, or the client is closed.
            ConfigurationError: the broker refuses this client permanently.
        """
        self._home.enter(running_loop(self.name))
        self._check_open()
        if self.calls.caller is None:
            await self._connecting(self._connect)

    async def _connect(self) -> None:
        await self.transport.connect()
        self._loop = loop = asyncio.get_running_loop()
        self._deadlines, self._ids = self.calls.start(loop), self.calls.ids
        caller = await self.transport.open_caller(self.calls)
        if not self.calls.closed:
            self.calls.caller = caller

    async def close(self) -> None:
        """End all pending calls with ConnectionLostError, cancel them on their workers, and disconnect.

        Calls made with ``persistent=True`` go on. No effect when closed. It runs to its end even if it is cancelled.
        """
        self.calls.closed = True
        await self._closing(self._close)

    async def _close(self) -> None:
        await self.calls.close()
        await self.transport.close()
        await self.calls.silent.close()
        await self._connecting.ended()
        stop_measuring(self._measured)

    def health(self) -> Health:
        """Report whether calls can be sent. Back-pressure and open circuit breakers are reasons, but not failures."""
        state, caller, reasons = self.transport.state, self.calls.caller, list[str]()
        if self.calls.closed or state is not ConnectionState.READY:
            error = self.transport.last_error
            what = "the client is closed" if self.calls.closed else f"the connection is {state.value}"
            reasons.append(f"{what}: {error}" if error else what)
        elif caller is None:
            reasons.append("the client is not ready to call yet")
        else:
            reasons += [*self._admission.obstacles(caller), *self.preparation.circuits.obstacles()]
        return Health(state is ConnectionState.READY and caller is not None, state, tuple(reasons))

    async def call(
        self,
        func_name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: AnyOptions,
        observed: CallObserver | None = None,
    ) -> Any:
        """Call ``func_name(*args, **kwargs)`` on one of the workers and return its result.

        Args:
            func_name: the name of the service.
            args: its positional arguments.
            kwargs: its keyword arguments.
            options: how to call it: the fields of :class:`~rabibridge_core._client.options.CallOptions`.
            observed: observes this call; ``None``: it is started here, if anything observes calls.

        Raises:
            QueueFullError: the service's queue is full.
            NoRouteError: there is no such service.
            DeadlockError: it could only wait for the calls that wait for it.
            CallTimeoutError: the timeout has passed.
            RemoteExecutionError: the function raised, or its result cannot be sent.
            ConnectionLostError: the connection, or the worker of an at-most-once service, is lost, or there is none.
            SerializationError: the arguments cannot be encoded, or the reply cannot be decoded.
            ContentRejectedError: the arguments are too large, or the reply has a content type that is not accepted.
            ConfigurationError: an argument is out of its range, or the broker refuses what this client sends.
            TypeError: ``args`` is not a tuple or list, or ``kwargs`` is not a dict.
        """
        if self.observer is not None and observed is None:
            observed = start_call(self.observer, "call", func_name)
            if type(observed) is not CallHeaders:
                return await observe_started(observed, self.call, func_name, args, kwargs, options)
        kind, given, idempotent, idempotency_key, persistent, inherit_deadline, retry, headers = options
        calls, pending = self.calls, self._pending
        try:
            route = self._routes[kind][func_name]
        except (KeyError, TypeError):
            route = self._routes.add(func_name, kind)
            calls.silent.called(route)
        if not isinstance(args, _SEQUENCES) or type(kwargs) is not dict or kwargs:
            check_arguments(func_name, args, kwargs)
        if idempotent is not False or persistent is not False or inherit_deadline is not True or retry is not None:
            check_options(idempotent, persistent, inherit_deadline, retry)
        if idempotency_key is not None:
            check_idempotency_key(idempotency_key)
        if headers is not None:
            if type(headers) is RareOptions:
                return await rare_call(self.call, self.preparation, func_name, args, kwargs, options, observed)
            check_call_headers(headers)
        if given is None:
            timeout = self.call_timeout
        else:
            timeout = given if type(given) is float or type(given) is int else seconds_of(given)
        suspected = None
        if current_call_var.get() is not None:
            timeout = self.preparation.timeout(timeout, None, inherit=inherit_deadline)
            route, headers, suspected = self.preparation.nested(func_name, kind, route, headers)
        time_left = timeout if timeout is None or 0 < timeout < TIMEOUT_MAX else normalize_timeout(timeout)
        if suspected is not None:
            time_left = await self.preparation.chains.refuse(suspected, route, time_left)
        caller = calls.caller
        if caller is None or caller.paused or len(pending) >= self._admission.limit:
            if holds_upload(args, kwargs):  # its time is not for waiting, if it must be sent in another way
                encode_request(self._codec, args, kwargs, b"", func_name)
            time_left = await self.admitted(func_name, timeout, time_left)
            caller = self.connected()
        correlation_id = next(self._ids)
        if correlation_id in pending:
            correlation_id = calls.free_id(correlation_id)
        if time_left is not None and time_left <= 0:
            raise call_timeout_error(func_name, correlation_id, timeout, "", sent=False)
        body, content_type, content_encoding = encode_request(self._codec, args, kwargs, correlation_id, func_name)
        if idempotent or idempotency_key is not None:
            headers = self._idempotency.add_header(headers, idempotency_key)
        elif route in self._idempotency.routes:
            headers = self._idempotency.add_learned(headers)
        loop = self._loop
        if _running_loop() is not loop:
            self._home.check()
        future: asyncio.Future[Reply] = loop.create_future()
        if observed is not None:
            headers = with_headers(observed, correlation_id, time_left, headers)
        request = _new_tuple(
            Request, (route, correlation_id, body, content_type, content_encoding, time_left, headers, persistent)
        )
        slot = None if time_left is None else self._deadlines.add(correlation_id, time_left)
        call = pending[correlation_id] = PendingCall(request, future, func_name, timeout, slot, observed)
        try:
            if (not self._backlogs and retry is None) or calls.refusals.sends(call, retry, caller):
                caller.send(request)
            reply = await future
            if self._unanswered:
                self._unanswered.discard(route)
            if reply[3] or self._idempotency.routes:
                self._idempotency.learn(route, reply.headers or {})
            try:
                return decode_reply(self._codec, reply, func_name, correlation_id)
            except LargeBodyError:
                return await off_loop(decode_reply, self._codec, reply, func_name, correlation_id)
        except BaseException as raised:
            calls.abandon(call, raised)
            raise
        finally:
            if pending.get(correlation_id) is call:  # else lost() has taken it out already
                del pending[correlation_id]
            if self._admission.waiting:
                self._admission.admit()
            if slot is not None:
                self._deadlines.discard(correlation_id, slot)
            del future, call  # a frame that keeps the exception which keeps the frame is a cycle

    async def admitted(self, func_name: str, timeout: float | None, seconds: float | None) -> float | None:
        """Wait until the call may be sent; return the time left after that, in seconds."""
        started = (loop := asyncio.get_running_loop()).time()
        self.connected()
        try:
            async with asyncio.timeout(seconds):
                await self._admission.enter()
                try:
                    while (caller := self.connected()).paused:
                        await caller.writable()
                finally:
                    self._admission.leave()
        except TimeoutError:
            why = "; ".join(self._admission.obstacles(self.calls.caller)) if self.calls.caller else ""
            raise call_timeout_error(func_name, b"", timeout, why, sent=False) from None
        return None if seconds is None else seconds - (loop.time() - started)

    def connected(self) -> Caller:
        """Return what sends requests; raise ConnectionLostError if the client is closed or was never connected."""
        self._check_open()
        caller = self.calls.caller
        if caller is None:
            raise ConnectionLostError(
                f"{self.name} is not connected: await its connect(), or use it as 'async with', before the first call",
                executed=False,
            )
        return caller

    def _check_open(self) -> None:
        self._home.check()
        if self.calls.closed:
            raise ConnectionLostError(f"{self.name} is closed: await its connect() to call again", executed=False)
