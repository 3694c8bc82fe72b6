"""Sends the request for a stream, again where that is possible, and gives out what arrives until the end or an error."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from rabibridge_core._client.stream_errors import StreamErrors, again
from rabibridge_core._client.stream_run import PartsFuture, PendingStream, StreamRun
from rabibridge_core._client.stream_state import StreamState
from rabibridge_core._client.timeouts import call_timeout_error
from rabibridge_core._protocol.headers import ERROR_KIND, IDEMPOTENT
from rabibridge_core._protocol.large_bodies import LargeBodyError, off_loop
from rabibridge_core._protocol.payloads import decode_reply, readdress_request
from rabibridge_core._protocol.remote_errors import STREAM_STOPPED
from rabibridge_core._protocol.streams import (
    DEFAULT_WINDOW,
    START,
    STREAM,
    TOTAL,
    UPLOAD,
    decode_items,
    part_context,
    read_index,
)
from rabibridge_core.errors import CallTimeoutError, ConnectionLostError, RemoteExecutionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.preparation import Preparation, Prepared
    from rabibridge_core._client.uploading import Uploading
    from rabibridge_core._protocol.streams import Window
    from rabibridge_core.transport import Headers, Request

__all__ = ["StreamCall", "Streaming"]


class StreamCall(NamedTuple):
    """What is called, and how.

    Attributes:
        func: the function or its name, as the user gave it.
        func_name: the name of the service.
        route: its routing key.
        args: the positional arguments.
        kwargs: the keyword arguments.
        options: how to call it.
        idle_timeout: the longest wait for an item, in seconds; ``None``: no limit but the timeout.
        upload: feeds one of the arguments; ``None``: none is fed.
    """

    func: object
    func_name: str
    route: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: AnyOptions
    idle_timeout: float | None = None
    upload: Uploading | None = None


class Streaming:
    """One stream, from its first step to its end. One task at a time waits for what comes next, others for their turn.

    The request is in the table of pending calls while a worker may have it. It is sent again, as another call, if the
    connection or the worker was lost: from the beginning if nothing was taken of it and it may run twice, from the next
    item on if the service is resumable. What had arrived before is given out first, whatever happened since; except
    that the timeout ends the stream at once.

    Attributes:
        items: items that have arrived and that the reader has not taken.
    """

    def __init__(self, preparation: Preparation, call: StreamCall, window: Window = DEFAULT_WINDOW) -> None:
        """Send nothing yet."""
        self.items: deque[Any] = deque()
        self._preparation = preparation
        self._call = call
        self._window = window
        self._turn = asyncio.Lock()
        self._decoded = 0
        self._prepared: Prepared | None = None
        self._timeout: float | None = None
        self._ends_at: float | None = None
        self._run: StreamRun | None = None
        self._waiting: asyncio.Timeout | None = None
        self._over = False
        self._first = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._errors = StreamErrors(call)

    @property
    def received(self) -> int:
        """How many items the reader has taken."""
        return self._decoded - len(self.items)

    @property
    def over(self) -> bool:
        """Whether it is at its end, or was closed."""
        return self._over

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that it runs on, while it has to be closed; else ``None``."""
        return None if self._over else self._loop

    async def fetch(self) -> bool:
        """Wait until there are items; return whether there are: ``False`` at the end.

        Raises:
            RabiBridgeError: why the stream has ended; each time, as an end without an error is the end of the stream.
            BaseException: what the iterator of an upload has raised.
        """
        async with self._turn:
            while not self.items:
                if self._over:
                    self._errors.raise_again()
                    return False
                try:
                    await self._proceed()
                except asyncio.CancelledError:
                    raise
                except RemoteExecutionError as error:
                    if not self._over:
                        listed = self._errors.listed(error)
                        self.fail(listed)
                        raise listed from error.__cause__
                except BaseException as error:
                    if not self._over:
                        self.fail(error)
                        raise
        return True

    def fail(self, error: BaseException, *, taken: int = 0) -> None:
        """End with an error, which ``taken`` items that were taken have caused."""
        self._decoded -= taken
        self._errors.complete(error, self.received)
        self._finish(error)

    def close(self) -> None:
        """End it now, and tell the worker; no effect if it is at its end."""
        if not self._over:
            self._finish(asyncio.CancelledError("the stream was closed before its end"))

    def _finish(self, error: BaseException | None) -> None:
        self._over = True
        self._decoded -= len(self.items)
        self.items.clear()
        run, self._run = self._run, None
        if run is not None:
            run.cancel()
            run.state.drop()
            run.state.wake()
        if self._call.upload is not None:
            self._call.upload.close()
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())
        self._tell_finished(error)

    def _tell_finished(self, error: BaseException | None) -> None:
        if self._prepared is not None:
            self._preparation.finished(self._call.func_name, self._prepared, error)
            self._prepared = None

    async def _proceed(self) -> None:
        """Do the next step: send, take a message, come to the end, or wait."""
        run = self._run
        if run is None:
            await self._send()
        elif isinstance(run.error, CallTimeoutError):
            raise again(run.error)
        elif self._call.upload is not None and self._call.upload.error is not None:
            raise self._call.upload.error
        elif run.state.messages:
            await self._take(run)
        elif run.state.broken:
            raise self._errors.broken(run.state.broken)
        elif run.call.future.done() or run.state.restarted:
            await self._end(run)
        else:
            await self._wait(run)

    async def _wait(self, run: StreamRun) -> None:
        idle, loop = self._call.idle_timeout, asyncio.get_running_loop()
        if idle is None:
            await run.state.changed(loop)
            return
        index = run.state.next_index
        try:
            async with asyncio.timeout(idle):
                while self._run is run and not (
                    run.state.messages or run.state.broken or run.state.restarted or run.call.future.done()
                ):
                    await run.state.changed(loop)
        except TimeoutError:
            raise self._errors.idle(idle, index, run.call.request.correlation_id) from None

    async def _take(self, run: StreamRun) -> None:
        state, codec = run.state, self._preparation.codec
        wrong = state.check_next()
        if wrong:
            raise self._errors.broken(wrong)
        message, context = state.messages[0], part_context(run.call.request.correlation_id, state.next_index)
        try:
            items = decode_items(codec, message, context)
        except LargeBodyError:
            items = await off_loop(decode_items, codec, message, context)
            if self._over or not state.messages or state.messages[0] is not message:
                return  # it was dropped meanwhile
        state.take(len(items))
        self._decoded += len(items)
        self.items.extend(items)
        run.report()

    async def _end(self, run: StreamRun) -> None:
        """Come to the end of one run: that of the stream, or another run follows."""
        state, error = run.state, run.error
        if state.restarted:
            run.cancel()
            self._go_on(run, self._errors.restarted(run.call.request.correlation_id))
        elif error is not None:
            if isinstance(error, ConnectionLostError) and not self._preparation.client.calls.closed:
                self._go_on(run, error)
            else:
                raise again(error)
        else:
            reply = run.call.future.result()
            headers = reply.headers or {}
            if headers.get(ERROR_KIND) == STREAM_STOPPED:
                self._go_on(run, self._errors.stopped(headers, run.call.request.correlation_id))
                return
            codec, name, correlation_id = self._preparation.codec, self._call.func_name, run.call.request.correlation_id
            try:
                decode_reply(codec, reply, name, correlation_id)
            except LargeBodyError:
                await off_loop(decode_reply, codec, reply, name, correlation_id)
            if not self._over:
                self._errors.check_total(read_index(headers, TOTAL), state, correlation_id)
                self._finish(None)

    def _go_on(self, run: StreamRun, error: Exception) -> None:
        """Send it again, or raise ``error``."""
        state, upload = run.state, self._call.upload
        may_go_on = state.resumable or (not state.taken and self._may_run_twice(state))
        if not may_go_on or (upload is not None and upload.begun):
            raise again(error)
        self._run = None
        self._first = state.next_index

    def _may_run_twice(self, state: StreamState) -> bool:
        call = self._call
        known = self._preparation.client.calls.idempotency.routes
        return bool(call.options[2]) or call.route in known or state.headers.get(IDEMPOTENT) is True

    async def _send(self) -> None:
        calls, options, loop = self._preparation.client.calls, self._call.options, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as self._waiting:
                request, time_left = await self._next_request(loop)
        finally:
            self._waiting = None
        if self._over:
            self._tell_finished(asyncio.CancelledError("the stream was closed before it was sent"))
            return
        self._loop = loop
        state = StreamState(self._first, self._window)
        future = PartsFuture(state.arrived, loop)
        correlation_id = request.correlation_id
        slot = None if time_left is None else calls.deadlines.add(correlation_id, time_left)
        call = PendingStream(request._replace(timeout=time_left), future, self._call.func_name, self._timeout, slot)
        run = self._run = StreamRun(calls, call, state, self._preparation.client.connected(), self._ended)
        if self._call.upload is not None:
            self._call.upload.attach(run)
        run.send(options[6])

    async def _next_request(self, loop: asyncio.AbstractEventLoop) -> tuple[Request, float | None]:
        preparation, call = self._preparation, self._call
        client, calls = preparation.client, preparation.client.calls
        if self._prepared is None:
            given, inherit = call.options[1], call.options[5]
            self._timeout = preparation.timeout(given, preparation.call_timeout, inherit=inherit)
            prepared = await preparation.prepare(
                call.func_name, call.route, call.args, call.kwargs, call.options, self._timeout,
                keyed=False, streams=True,
            )  # fmt: skip
            self._prepared, time_left = prepared, prepared.time_left
            self._ends_at = None if time_left is None else loop.time() + time_left
            request = prepared.request
        else:
            time_left = None if self._ends_at is None else self._ends_at - loop.time()
            caller = client.connected()
            if caller.paused or len(calls.pending) >= calls.admission.limit:
                time_left = await client.admitted(call.func_name, self._timeout, time_left)
            request = readdress_request(preparation.codec, self._prepared.request, calls.free_id(next(calls.ids)))
        if time_left is not None and time_left <= 0:
            raise call_timeout_error(call.func_name, request.correlation_id, self._timeout, "", sent=self._first > 0)
        return request._replace(headers=self._headers(self._prepared.request.headers), persistent=False), time_left

    def _headers(self, headers: Headers | None) -> Headers:
        own: dict[str, Any] = {**(headers or {}), STREAM: str(self._window)}
        if self._first:
            own[START] = self._first
        if self._call.upload is not None:
            own[UPLOAD] = self._call.upload.argument
        return own

    def _ended(self) -> None:
        """Called when the run has ended by itself."""
        run = self._run
        if run is None:
            return
        state = run.state
        if isinstance(run.error, CallTimeoutError):
            self._decoded -= len(self.items)
            self.items.clear()
            state.drop()
        elif isinstance(run.error, ConnectionLostError) and not (state.taken or state.resumable):
            if self._may_run_twice(state):  # from its beginning
                state.drop()
