"""The client engine: the table of pending calls, and how each of them ends."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

from rabibridge_core.deadlines import DeadlineWheel
from rabibridge_core.errors import CallTimeoutError, ConfigurationError, ConnectionLostError
from rabibridge_core.failures import failure_of
from rabibridge_core.naming import FunctionKind, routing_key
from rabibridge_core.transport import Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rabibridge_core.codec import Codec
    from rabibridge_core.plugins import CallHooks
    from rabibridge_core.transport import Caller, Refusal, Reply, Transport

__all__ = ["Client"]

_log = logging.getLogger(__name__)
_SEQUENCES = (tuple, list)
_ROUTES_KEPT = 4096
_TIMEOUT_MAX = 2.0**32 / 1000
"""What is more than this many seconds, 49 days, is taken for no limit."""


class _PendingCall:
    __slots__ = ("func_name", "future", "timeout")

    def __init__(self, future: asyncio.Future[Reply], func_name: str, timeout: float | None) -> None:
        self.future = future
        self.func_name = func_name
        self.timeout = timeout


class Client:
    """Calls functions in other processes over a transport.

    Every call ends: with the result, with one error of :mod:`rabibridge_core.errors`, or with the cancellation of the
    task that made it. However it ends, it leaves nothing behind here.
    """

    def __init__(self, transport: Transport, codec: Codec, *, hooks: CallHooks, cid_max: int, name: str) -> None:
        """Own ``transport``: it is connected and closed with this client.

        Args:
            transport: where calls go.
            codec: how arguments and results become bytes.
            hooks: what to tell of each call.
            cid_max: correlation ids count from a random start up to this number, then from 0.
            name: how this client calls itself in logs.
        """
        self.transport = transport
        self.name = name
        self.stray_replies = 0
        """Replies that no pending call waited for: late, doubled or forged ones."""
        self._codec = codec
        self._hooks = hooks
        self._pending: dict[bytes, _PendingCall] = {}
        self._ids = _correlation_ids(cid_max)
        self._cid_max = cid_max
        self._routes: dict[tuple[str, FunctionKind], str] = {}
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
        """End all pending calls with ConnectionLostError and disconnect; without effect when closed.

        It goes on to its end whoever stops waiting for it.
        """
        if self._closing is None:
            self._closed = True
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self.lost(ConnectionLostError(f"{self.name} was closed while the call was under way"))
        self._caller = None
        await self.transport.close()
        if self._connecting is not None:
            await asyncio.gather(self._connecting, return_exceptions=True)

    async def call(
        self,
        func_name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        kind: FunctionKind,
        timeout: float | None,
    ) -> Any:
        """Call ``func_name(*args, **kwargs)`` on some worker and return its result.

        Args:
            func_name: the name of the service.
            args: its positional arguments.
            kwargs: its keyword arguments.
            kind: ``"async"``, ``"sync"``, or ``"any"``.
            timeout: for the whole call, in seconds; ``None``: no limit.

        Raises:
            QueueFullError: the service's queue is full.
            NoRouteError: there is no such service.
            CallTimeoutError: the time is over.
            RemoteExecutionError: the function raised, or its result cannot be sent.
            ConnectionLostError: the connection went before the reply came, or the client is closed or not connected.
            SerializationError: the arguments cannot be encoded, or the reply cannot be decoded.
            ContentRejectedError: the arguments are too large, or the reply is of a kind that is not accepted.
            TypeError: ``args`` is no tuple or list, or ``kwargs`` no dict.
        """
        route = self._routes.get((func_name, kind)) or self._new_route(func_name, kind)
        if not isinstance(args, _SEQUENCES) or not isinstance(kwargs, dict):
            raise TypeError(
                f"call of {func_name!r}: args must be a tuple or list and kwargs a dict, "
                f"not {type(args).__name__} and {type(kwargs).__name__}"
            )
        time_left = timeout if timeout is None or 0 < timeout < _TIMEOUT_MAX else _odd_timeout(timeout)
        caller = self._caller
        if caller is None or caller.paused:
            time_left = await self._writable(func_name, time_left)
            caller = self._connected()
        correlation_id = next(self._ids)
        if correlation_id in self._pending:
            correlation_id = self._free_id(correlation_id)
        if time_left is not None and time_left <= 0:
            raise _timed_out(func_name, correlation_id, timeout, sent=False)
        body, content_type, content_encoding = self._codec.encode([args, kwargs], correlation_id)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            raise ConfigurationError(f"{self.name} was connected on another event loop: make one client for each loop")
        future: asyncio.Future[Reply] = loop.create_future()
        call = self._pending[correlation_id] = _PendingCall(future, func_name, timeout)
        slot = None if time_left is None else self._deadlines.add(correlation_id, time_left)
        hooks = self._hooks
        started = hooks.call_sent(func_name, correlation_id, time_left) if hooks.active else 0.0
        error: BaseException | None = None
        try:
            caller.send(Request(route, correlation_id, body, content_type, content_encoding, time_left))
            return self._result(await future, func_name, correlation_id)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if self._pending.get(correlation_id) is call:  # not so after lost(), which takes the whole table
                del self._pending[correlation_id]
            if slot is not None:
                self._deadlines.discard(correlation_id, slot)
            if hooks.active:
                hooks.call_finished(func_name, correlation_id, started, error)
            error = None  # a frame that keeps the exception which keeps the frame is a cycle
            del future, call

    def _new_route(self, func_name: str, kind: FunctionKind) -> str:
        route = routing_key(func_name, kind)
        if len(self._routes) >= _ROUTES_KEPT:
            self._routes.clear()
        self._routes[func_name, kind] = route
        return route

    def _free_id(self, correlation_id: bytes) -> bytes:
        """Return the next id that no pending call has; a longer one where all ids are in use."""
        while correlation_id in self._pending:
            correlation_id = next(self._ids) if len(self._pending) < self._cid_max else correlation_id + b"."
        return correlation_id

    async def _writable(self, func_name: str, seconds: float | None) -> float | None:
        """Wait until the caller takes requests; return the time that is left after it, in seconds."""
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(seconds):
                while (caller := self._connected()).paused:
                    await caller.writable()
        except TimeoutError:
            raise _timed_out(func_name, b"", seconds, sent=False) from None
        return None if seconds is None else seconds - (asyncio.get_running_loop().time() - started)

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

    def _result(self, reply: Reply, func_name: str, correlation_id: bytes) -> Any:
        answer = self._codec.decode(reply.body, reply.content_type, reply.content_encoding, b"reply " + correlation_id)
        if type(answer) is list and len(answer) == 2:
            code, result = answer
            if code == 0:
                return result
            if code == 1:
                raise failure_of(result, reply.headers or {}, func_name, correlation_id.decode())
        raise failure_of(None, {"rb-error": "reply"}, func_name, correlation_id.decode())

    def replied(self, correlation_id: bytes, reply: Reply, /) -> None:
        """Take a reply from the transport."""
        call = self._pending.get(correlation_id)
        if call is None or call.future.done():
            self.stray_replies += 1
        else:
            call.future.set_result(reply)

    def refused(self, correlation_id: bytes, refusal: Refusal, detail: str, /) -> None:
        """Take a refusal from the transport."""
        call = self._pending.get(correlation_id)
        if call is not None and not call.future.done():
            message = f"call of {call.func_name!r} refused: {detail}"
            error = refusal(message, func_name=call.func_name, correlation_id=correlation_id.decode())
            call.future.set_exception(error)

    def lost(self, error: ConnectionLostError, /) -> None:
        """End all pending calls: their replies cannot come any more."""
        pending, self._pending = self._pending, {}
        for call in pending.values():
            if not call.future.done():
                lost = ConnectionLostError(f"call of {call.func_name!r}: {error}", executed=error.executed)
                lost.__cause__ = error
                call.future.set_exception(lost)
        if pending:
            _log.warning("%s: %d pending calls ended: %s", self.name, len(pending), error)

    def _expired(self, correlation_id: bytes) -> None:
        call = self._pending.get(correlation_id)
        if call is not None and not call.future.done():
            call.future.set_exception(_timed_out(call.func_name, correlation_id, call.timeout, sent=True))


def _odd_timeout(timeout: float) -> float | None:
    """Judge a timeout that is not simply some time: infinity and centuries are no limit, zero and less have passed."""
    if timeout >= _TIMEOUT_MAX:
        return None
    if timeout <= 0:
        return timeout
    raise ConfigurationError(f"timeout is {timeout!r}: it is seconds, or None for no limit")


def _timed_out(func_name: str, correlation_id: bytes, seconds: float | None, *, sent: bool) -> CallTimeoutError:
    what = "no reply" if sent else "it could not be sent"
    return CallTimeoutError(
        f"call of {func_name!r} timed out: {what} within {seconds:g} s",
        func_name=func_name,
        correlation_id=correlation_id.decode(),
        timeout=seconds or 0.0,
        executed=None if sent else False,
    )


def _correlation_ids(cid_max: int) -> Iterator[bytes]:
    if cid_max < 1:
        raise ConfigurationError(f"CID_MAX is {cid_max}: it must be at least 1")
    number = random.SystemRandom().randrange(cid_max)
    while True:
        yield b"%d" % number
        number = (number + 1) % cid_max
