"""Sends the request for a stream, again where that is possible, and gives out what arrives."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.progress import ProgressReceiver
from rabibridge_core._client.rare_options import wanted_progress
from rabibridge_core._client.stream_decoding import decode_next, decode_next_off_loop, decode_result
from rabibridge_core._client.stream_errors import StreamErrors, again
from rabibridge_core._client.stream_request import StreamRequests
from rabibridge_core._client.stream_run import PartsFuture, PendingStream, StreamRun
from rabibridge_core._client.stream_state import StreamState
from rabibridge_core._concurrency.turns import Turns
from rabibridge_core._protocol.headers import ERROR_KIND, IDEMPOTENT
from rabibridge_core._protocol.large_bodies import LargeBodyError
from rabibridge_core._protocol.remote_errors import STREAM_STOPPED
from rabibridge_core._protocol.streams import DEFAULT_WINDOW, INDEX, TOTAL, read_index
from rabibridge_core.errors import CallTimeoutError, ConnectionLostError, RemoteExecutionError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from rabibridge_core._client.preparation import Preparation
    from rabibridge_core._client.stream_request import StreamCall
    from rabibridge_core._protocol.streams import Window
    from rabibridge_core.transport import Caller, Request

__all__ = ["Streaming"]


class Streaming:
    """One stream, from its first step to its end. One task at a time waits for what comes next, others for their turn.

    The request is in the table of pending calls while a worker may have it. It is sent again, as another call, if the
    connection or the worker was lost: from the beginning if nothing was taken of it and it may run twice, from the next
    item on if the service is resumable. What had arrived before is given out first, whatever happened since; except
    that the timeout ends the stream at once.

    A call that feeds an argument and wants one result is a stream without items, which has a result at its end.

    Attributes:
        items: items that have arrived and that the reader has not taken.
        result: what the function has returned, if that is wanted.
        first: the index of the item that the next request asks for first.
    """

    def __init__(self, preparation: Preparation, call: StreamCall, window: Window | None = DEFAULT_WINDOW) -> None:
        """Send nothing yet; without a ``window``, one result is wanted."""
        self.items: deque[Any] = deque()
        self.result: Any = None
        self._preparation = preparation
        self._call = call
        self._window = window
        self._turns = Turns()
        self._decoded = 0
        self._requests = StreamRequests(preparation, call, window)
        self._run: StreamRun | None = None
        self._waiting: asyncio.Timeout | None = None
        self._over = False
        self.first = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._progress: ProgressReceiver | None = None
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
        turns = self._turns
        if turns.taken:
            await turns.wait()
        turns.taken = True
        try:
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
        finally:
            turns.release()
        return True

    def fail(self, error: BaseException, *, taken: int = 0) -> None:
        """End with an error, which ``taken`` items that were taken have caused."""
        self._decoded -= taken
        self._errors.complete(error, None if self._window is None else self.received)
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
            if (upload := self._call.upload) is not None and upload.told and error is upload.error:
                run.abandon()  # the function fails with that error
            else:
                run.cancel()
            run.state.drop()
            run.state.wake()
        if self._call.upload is not None:
            self._call.upload.close()
        if self._progress is not None:
            self._progress.close()
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())
        self._requests.finished(error, self.received)

    async def _proceed(self) -> None:
        """Do the next step: send, take a message, come to the end, or wait."""
        run = self._run
        if run is None:
            if not self._send():
                await self._send_later()
            run = self._run
            if run is not None and run.state.awaits and not run.call.future.done():
                await self._wait(run)
        elif run.call.future.done() and isinstance(run.error, CallTimeoutError):
            raise again(run.error)
        elif (upload := self._call.upload) is not None and upload.error is not None and not run.answered:
            raise upload.error
        elif run.state.messages:
            if not self._take(run):
                await self._take_large(run)
        elif run.state.broken:
            raise self._errors.broken(run.state.broken)
        elif run.call.future.done() or run.state.restarted:
            await self._end(run)
        else:
            await self._wait(run)

    def _wait(self, run: StreamRun) -> Awaitable[None]:
        """Return what waits for the next message."""
        loop, idle = asyncio.get_running_loop(), self._call.idle_timeout
        return run.state.changed(loop) if idle is None else self._wait_at_most(idle, run, loop)

    async def _wait_at_most(self, idle: float, run: StreamRun, loop: asyncio.AbstractEventLoop) -> None:
        index = run.state.next_index
        try:
            async with asyncio.timeout(idle):
                while self._run is run and run.state.awaits and not run.call.future.done():
                    await run.state.changed(loop)
        except TimeoutError:
            raise self._errors.idle(idle, index, run.call.request.correlation_id) from None

    def _take(self, run: StreamRun) -> bool:
        """Take the next message; return whether it was: ``False`` if a thread must decode it."""
        state = run.state
        wrong = state.check_next() if self._window is not None else "the service gives items: use client.stream"
        if wrong:
            raise self._errors.broken(wrong)
        try:
            items = decode_next(self._preparation.codec, state, run.call.request.correlation_id)
        except LargeBodyError:
            return False
        self._taken(run, items)
        return True

    async def _take_large(self, run: StreamRun) -> None:
        """Take the next message, which :meth:`_take` has looked at, and let a thread decode it."""
        items = await decode_next_off_loop(self._preparation.codec, run.state, run.call.request.correlation_id)
        if items is not None and not self._over:
            self._taken(run, items)

    def _taken(self, run: StreamRun, items: list[Any]) -> None:
        run.state.take(len(items))
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
            correlation_id = run.call.request.correlation_id
            if INDEX not in headers:  # else it held items, which were taken
                self.result = await decode_result(self._preparation.codec, reply, self._call.func_name, correlation_id)
                if self._over:
                    return
            if self._window is not None:
                self._errors.check_total(read_index(headers, TOTAL), state, correlation_id)
            self._finish(None)

    def _go_on(self, run: StreamRun, error: Exception) -> None:
        """Send it again, or raise ``error``."""
        state, upload = run.state, self._call.upload
        if not (state.resumable or self._may_begin_again(state)) or (upload is not None and upload.begun):
            raise again(error)
        self._run = None
        self.first = state.next_index

    def _may_begin_again(self, state: StreamState) -> bool:
        if state.taken:
            return False
        call = self._call
        known = self._preparation.client.calls.idempotency.routes
        return bool(call.options[2]) or call.route in known or state.headers.get(IDEMPOTENT) is True

    def _send(self) -> bool:
        """Send the request; return whether it was: ``False`` if that must wait."""
        requests, loop = self._requests, asyncio.get_running_loop()
        time_left, caller = requests.time_left(loop), requests.caller()
        if caller is None:
            return False
        self._start(requests.next(self.first, time_left), caller, loop)
        return True

    async def _send_later(self) -> None:
        """Wait until the request may be sent, and send it."""
        requests, loop = self._requests, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as self._waiting:
                time_left = await requests.wait(requests.time_left(loop))
        finally:
            self._waiting = None
        if not self._over:
            self._start(requests.next(self.first, time_left), self._preparation.client.connected(), loop)

    def _start(self, request: Request, caller: Caller, loop: asyncio.AbstractEventLoop) -> None:
        calls, options, upload = self._preparation.client.calls, self._call.options, self._call.upload
        self._loop = loop
        state = StreamState(self.first, self._window or DEFAULT_WINDOW)
        future = PartsFuture(state.arrived, loop)
        time_left, correlation_id = request.timeout, request.correlation_id
        slot = None if time_left is None else calls.deadlines.add(correlation_id, time_left)
        call = PendingStream(request, future, self._call.func_name, self._requests.timeout, slot)
        run = self._run = StreamRun(calls, call, state, caller, self._ended)
        if self._window is None:
            run.awaited = "reply"
        if (on_progress := wanted_progress(options[7])) is not None:
            if self._progress is None:
                self._progress = ProgressReceiver(on_progress, self._call.func_name)
            state.on_progress = self._progress.received
        if upload is not None:
            upload.attach(run)
        run.send(options[6])

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
        elif isinstance(run.error, ConnectionLostError) and not state.resumable and self._may_begin_again(state):
            state.drop()
