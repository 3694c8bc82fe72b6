"""The client engine: the table of pending calls, and how each of them ends."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.admission import AdmissionLimiter
from rabibridge_core._client.idempotency import IdempotencyKeys, check_key
from rabibridge_core._client.pending import PendingCall, correlation_ids
from rabibridge_core._client.refusals import RefusalHandler
from rabibridge_core._client.resend import ResendQueue
from rabibridge_core._client.timeouts import TIMEOUT_MAX, normalize_timeout, overdue, timed_out, within_inherited
from rabibridge_core._concurrency.deadlines import DeadlineWheel
from rabibridge_core._observability.call_context import current_call_var
from rabibridge_core._observability.health import Health
from rabibridge_core._protocol.naming import FunctionKind, routing_key
from rabibridge_core._protocol.remote_errors import decode_error
from rabibridge_core.errors import CallError, ConfigurationError, ConnectionLostError
from rabibridge_core.transport import ConnectionState, Request

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core._codec.codec import Codec
    from rabibridge_core.plugins.call_hooks import CallHooks
    from rabibridge_core.transport import Caller, Headers, Refusal, Reply, Transport

__all__ = ["Client"]

_log = logging.getLogger(__name__)
_SEQUENCES = (tuple, list)
_ROUTES_KEPT = 4096
_NO_ROUTES: Mapping[str, str] = {}
_CANCELS_FROM = 2**28
"""Fewer ids than this come again while workers still remember which calls were cancelled."""
_running_loop = asyncio.get_running_loop
_new_tuple = tuple.__new__  # half of the time that the constructor of a NamedTuple takes


class Client:
    """Calls functions in other processes over a transport.

    Every call ends: with the result, with one error of :mod:`rabibridge_core.errors`, or with the cancellation of the
    task that made it. However it ends, it leaves nothing behind here; where nobody waits for a call any more, its
    workers are told.
    """

    def __init__(
        self,
        transport: Transport,
        codec: Codec,
        *,
        hooks: CallHooks,
        cid_max: int,
        name: str,
        max_pending: int = 65_536,
        call_timeout: float | None = None,
    ) -> None:
        """Own ``transport``: it is connected and closed with this client.

        Args:
            transport: where calls go.
            codec: how arguments and results become bytes.
            hooks: what to tell of each call.
            cid_max: correlation ids count from a random start up to this number, then from 0.
            name: how this client calls itself in logs.
            max_pending: most calls under way at a time; more wait for room, first come, first served.
            call_timeout: for calls that are given no timeout, in seconds; ``None``: no limit.
        """
        self.transport = transport
        self.name = name
        self.stray_replies = 0
        """Replies that no pending call waited for: late, doubled or forged ones."""
        self._codec = codec
        self._hooks = hooks
        self._call_timeout = call_timeout
        self._max_pending = max_pending
        self._pending: dict[bytes, PendingCall] = {}
        self._room = AdmissionLimiter(max_pending, self._pending)
        self._ids = correlation_ids(cid_max)
        self._cid_max = cid_max
        self._cancels = cid_max >= _CANCELS_FROM
        self._keys = IdempotencyKeys()
        self._resending = ResendQueue(self._pending, self._keys, name)
        self._refusals = RefusalHandler(self._resending, name)
        self._backlogs = self._refusals.backlogs
        self._routes: dict[FunctionKind, dict[str, str]] = {}
        self._caller: Caller | None = None
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._connecting: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        """Show the state and how many calls are pending."""
        return f"<{type(self).__name__} {self.name!r} {self.transport.state.value}, {len(self._pending)} pending>"

    @property
    def pending(self) -> int:
        """How many calls wait for their reply."""
        return len(self._pending)

    @property
    def correlation_id(self) -> str:
        """The next id, taken from the counter: each reading uses one up."""
        return next(self._ids).decode()

    async def connect(self) -> None:
        """Connect; without effect when connected.

        Raises:
            ConnectionLostError: no broker could be reached, or the client was closed before.
            ConfigurationError: the broker refuses this client for good.
        """
        self._check_open()
        if self._caller is not None:
            return
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(), name=f"{self.name}-connect")
        connecting = self._connecting
        try:
            await asyncio.shield(connecting)
        finally:
            if connecting.done():
                self._connecting = None

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await self.transport.connect()
        self._loop = loop
        self._deadlines = DeadlineWheel[bytes](loop, self._expired)
        caller = await self.transport.open_caller(self)
        if not self._closed:
            self._caller = caller

    async def close(self) -> None:
        """End all pending calls with ConnectionLostError, tell their workers, and disconnect.

        Calls made with ``persistent=True`` go on on their workers. Without effect when closed. It goes on to its end
        whoever stops waiting for it.
        """
        if self._closing is None:
            self._closed = True
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        caller, self._caller = self._caller, None
        if caller is not None and self._cancels:
            for correlation_id, call in self._pending.items():
                waiting = call.future.cancelled() or not call.future.done()
                if waiting and not call.request.persistent and not self._refusals.waits(call):
                    caller.cancel(call.request.routing_key, correlation_id)
        self._refusals.close(self._pending.values())
        self.lost(ConnectionLostError(f"{self.name} was closed while the call was under way"), list(self._pending))
        self._room.open()
        if caller is not None:
            self._deadlines.clear()
        await self._resending.close()
        await self.transport.close()
        if self._connecting is not None:
            await asyncio.gather(self._connecting, return_exceptions=True)

    def health(self) -> Health:
        """Tell whether calls can be sent. A pause that the broker or the socket asks for is a reason, no failure."""
        state, caller = self.transport.state, self._caller
        reasons = []
        if self._closed or state is not ConnectionState.READY:
            error = self.transport.last_error
            what = "the client is closed" if self._closed else f"the connection is {state.value}"
            reasons.append(f"{what}: {error}" if error else what)
        elif caller is None:
            reasons.append("the client is not ready to call yet")
        else:
            reasons.extend(self._obstacles(caller))
        return Health(state is ConnectionState.READY and caller is not None, state, tuple(reasons))

    async def call(
        self,
        func_name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        kind: FunctionKind,
        timeout: float | None,
        idempotent: bool = False,
        idempotency_key: str | None = None,
        persistent: bool = False,
        inherit_deadline: bool = True,
        retry: RetryRefused | None = None,
    ) -> Any:
        """Call ``func_name(*args, **kwargs)`` on some worker and return its result.

        Args:
            func_name: the name of the service.
            args: its positional arguments.
            kwargs: its keyword arguments.
            kind: ``"async"``, ``"sync"``, or ``"any"``.
            timeout: for the whole call, in seconds; ``None``: the client's ``call_timeout``.
            idempotent: it does no harm to run it twice: it is sent again after a lost connection. So are calls of
                services whose last reply said that they are.
            idempotency_key: a worker runs calls of a service with the same key once; it implies ``idempotent``.
                ``None``: each call has its own.
            persistent: it survives a restart of the broker, and runs even if this client is gone.
            inherit_deadline: in a handler, the call gets no more time than is left to the call being answered.
            retry: how it is sent again if the queue is full; ``None``: it is not.

        Raises:
            QueueFullError: the service's queue is full.
            NoRouteError: there is no such service.
            CallTimeoutError: the time is over.
            RemoteExecutionError: the function raised, or its result cannot be sent.
            ConnectionLostError: the connection went before the reply came, or the client is closed or not connected,
                or the worker of a service that never runs a call twice is gone.
            SerializationError: the arguments cannot be encoded, or the reply cannot be decoded.
            ContentRejectedError: the arguments are too large, or the reply is of a kind that is not accepted.
            ConfigurationError: an argument is out of its range, or the broker refuses what this client sends.
            TypeError: ``args`` is no tuple or list, or ``kwargs`` no dict.
        """
        route = self._routes.get(kind, _NO_ROUTES).get(func_name) or self._new_route(func_name, kind)
        if not isinstance(args, _SEQUENCES) or not isinstance(kwargs, dict):
            raise TypeError(
                f"call of {func_name!r}: args must be a tuple or list and kwargs a dict, "
                f"not {type(args).__name__} and {type(kwargs).__name__}"
            )
        if idempotency_key is not None:
            check_key(idempotency_key)
        if timeout is None:
            timeout = self._call_timeout
        if inherit_deadline and current_call_var.get() is not None:
            timeout = within_inherited(timeout)
        time_left = timeout if timeout is None or 0 < timeout < TIMEOUT_MAX else normalize_timeout(timeout)
        caller, pending = self._caller, self._pending
        if caller is None or caller.paused or len(pending) >= self._room.limit:
            time_left = await self._admitted(func_name, timeout, time_left)
            caller = self._connected()
        correlation_id = next(self._ids)
        if correlation_id in pending:
            correlation_id = self._free_id(correlation_id)
        if time_left is not None and time_left <= 0:
            raise timed_out(func_name, correlation_id, timeout, "", sent=False)
        body, content_type, content_encoding = self._codec.encode([args, kwargs], correlation_id)
        headers: Headers | None = None
        if idempotent or idempotency_key is not None or route in self._keys.routes:
            headers = self._keys.header(idempotency_key)
        loop = _running_loop()
        if loop is not self._loop:
            raise ConfigurationError(f"{self.name} was connected on another event loop: make one client for each loop")
        future: asyncio.Future[Reply] = loop.create_future()
        request = _new_tuple(
            Request, (route, correlation_id, body, content_type, content_encoding, time_left, headers, persistent)
        )
        slot = None if time_left is None else self._deadlines.add(correlation_id, time_left)
        call = pending[correlation_id] = PendingCall(request, future, func_name, timeout, slot)
        if self._backlogs or retry is not None:
            self._refusals.watch(call, retry, caller)
        hooks = self._hooks
        told = hooks.active
        started = hooks.call_sent(func_name, correlation_id, time_left) if told else 0.0
        error: BaseException | None = None
        try:
            caller.send(request)
            return self._result(await future, route, func_name, correlation_id)
        except BaseException as raised:
            error = raised
            self._failed(call, raised)
            raise
        finally:
            if pending.get(correlation_id) is call:  # not so after lost(), which takes it out
                del pending[correlation_id]
            if self._room.waiting:
                self._room.admit()
            if slot is not None:
                self._deadlines.discard(correlation_id, slot)
            if told:
                hooks.call_finished(func_name, correlation_id, started, error)
            error = None  # a frame that keeps the exception which keeps the frame is a cycle
            del future, call

    def _new_route(self, func_name: str, kind: FunctionKind) -> str:
        route = routing_key(func_name, kind)
        routes = self._routes.setdefault(kind, {})
        if len(routes) >= _ROUTES_KEPT:
            routes.clear()
        routes[func_name] = route
        return route

    def _free_id(self, correlation_id: bytes) -> bytes:
        """Return the next id that no pending call has; a longer one where all ids are in use."""
        while correlation_id in self._pending:
            correlation_id = next(self._ids) if len(self._pending) < self._cid_max else correlation_id + b"."
        return correlation_id

    async def _admitted(self, func_name: str, timeout: float | None, seconds: float | None) -> float | None:
        """Wait for room and until the caller takes requests; return the time that is left after it, in seconds."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._connected()
        try:
            async with asyncio.timeout(seconds):
                await self._room.enter()
                try:
                    while (caller := self._connected()).paused:
                        await caller.writable()
                finally:
                    self._room.leave()
        except TimeoutError:
            why = "; ".join(self._obstacles(self._caller)) if self._caller else ""
            raise timed_out(func_name, b"", timeout, why, sent=False) from None
        return None if seconds is None else seconds - (loop.time() - started)

    def _obstacles(self, caller: Caller) -> list[str]:
        """Say what keeps calls from being sent now."""
        found = []
        if caller.paused:
            found.append(caller.why_paused or "the connection takes no calls now")
        if self._room.full:
            found.append(f"max_pending={self._max_pending} calls are under way")
        return found

    def _connected(self) -> Caller:
        self._check_open()
        if self._caller is None:
            raise ConnectionLostError(
                f"{self.name} is not connected: await its connect(), or use it as 'async with', before the first call",
                executed=False,
            )
        return self._caller

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionLostError(f"{self.name} is closed: make a new client to call again", executed=False)

    def _result(self, reply: Reply, route: str, func_name: str, correlation_id: bytes) -> Any:
        body, content_type, content_encoding, headers = reply
        if headers or self._keys.routes:
            self._keys.learn(route, headers or {})
        answer = self._codec.decode(body, content_type, content_encoding, b"reply " + correlation_id)
        if type(answer) is list and len(answer) == 2:
            code, result = answer
            if code == 0:
                return result
            if code == 1:
                raise decode_error(result, headers or {}, func_name, correlation_id.decode())
        raise decode_error(None, {"rb-error": "reply"}, func_name, correlation_id.decode())

    def _failed(self, call: PendingCall, error: BaseException) -> None:
        """Tell the workers of a call that nobody waits for any more; say what an earlier attempt leaves open."""
        if call.future.cancelled():
            if self._caller is not None and self._cancels and not self._refusals.waits(call):
                self._caller.cancel(call.request.routing_key, call.request.correlation_id)
        elif call.lost is not None:
            if isinstance(error, CallError) and error.executed is False:
                error.executed = None
            error.add_note(f"It was sent before, and may have run then: {call.lost}")

    def replied(self, correlation_id: bytes, reply: Reply, /) -> None:
        """Take a reply from the transport."""
        call = self._pending.get(correlation_id)
        if call is None or (future := call.future).done():
            self.stray_replies += 1
        else:
            future.set_result(reply)

    def refused(self, correlation_id: bytes, refusal: Refusal, detail: str, /) -> None:
        """Take a refusal from the transport."""
        call = self._pending.get(correlation_id)
        if call is not None and not call.future.done():
            self._refusals.refused(call, refusal, detail)

    def lost(self, error: ConnectionLostError | ConfigurationError, unconfirmed: Collection[bytes], /) -> None:
        """End all pending calls, whose replies cannot come any more, but those that are to be sent again."""
        unknown, ended, again = frozenset(unconfirmed), 0, 0
        gone = error if isinstance(error, ConnectionLostError) and not self._closed else None
        for correlation_id, call in list(self._pending.items()):
            if call.future.done():
                continue
            accepted = correlation_id not in unknown and not self._refusals.waits(call)
            if gone is not None and (call in self._refusals or self._resending.take(call, gone, accepted=accepted)):
                again += 1
            else:
                ended += 1
                del self._pending[correlation_id]
                call.end(error, accepted=accepted)
        if ended or again:
            and_again = f", {again} will be sent again" if again else ""
            _log.warning("%s: %d pending calls ended%s: %s", self.name, ended, and_again, error)
        self._backlogs.clear()  # what comes after the loss is another backlog
        if self._caller is not None:
            self._resending.start(self._caller)
        self._room.admit()

    def _expired(self, correlation_id: bytes) -> None:
        call = self._pending.get(correlation_id)
        if call is not None and not call.future.done():
            why_paused = self._caller.why_paused if self._caller is not None else ""
            call.future.set_exception(overdue(call, waits=self._refusals.waits(call), why_paused=why_paused))
