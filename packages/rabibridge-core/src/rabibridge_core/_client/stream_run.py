"""One request for a stream, in the table of pending calls: the last of its replies ends it, others go to its state."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

from rabibridge_core._client.pending import PendingCall
from rabibridge_core._protocol.streams import CREDIT, INDEX, PART
from rabibridge_core.errors import ConnectionLostError, QueueFullError
from rabibridge_core.transport import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._client.call_table import CallTable
    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core._client.stream_state import StreamState
    from rabibridge_core.transport import Caller, FeedRefusal, Headers

__all__ = ["PartsFuture", "PendingStream", "StreamRun", "feed"]

_AGAIN = 0.1
"""After how many seconds credit is sent again that the broker has refused because the worker has much to read."""


class PartsFuture(asyncio.Future[Reply]):
    """The outcome of a request that several replies answer: the last one ends it.

    So the table of pending calls hands every reply over in one way, whatever it is for.
    """

    def __init__(self, arrived: Callable[[Reply], None], loop: asyncio.AbstractEventLoop) -> None:
        """Call ``arrived`` with each reply that others follow."""
        super().__init__(loop=loop)
        self._arrived = arrived

    def set_result(self, result: Reply, /) -> None:
        """Called for each reply."""
        headers = result.headers
        if headers is not None and PART in headers:
            self._arrived(result)
            return
        if headers is not None and INDEX in headers:  # it holds the last items
            self._arrived(result)
        super().set_result(result)


class PendingStream(PendingCall):
    """A request for a stream, or with an upload, that has not ended yet."""

    __slots__ = ("run",)

    resends = False
    answers_at_once = False

    run: StreamRun
    """What it belongs to."""

    @property
    def silent(self) -> bool:
        """Whether no worker has answered anything."""
        return not self.run.state.address

    @property
    def awaited(self) -> str:  # type: ignore[override] # read only, as that of the class is
        """What it waits for."""
        if self.run.state.stands_still:
            return f"{self.run.awaited}, whose function waits until its reader goes on,"
        return self.run.awaited

    def feed_refused(self, refusal: FeedRefusal, detail: str) -> None:
        """Called when the broker has refused a message to its worker."""
        self.run.refused(refusal, detail)


class StreamRun:
    """One request that several replies answer, from sending it to its end.

    However it ends, it leaves the table of pending calls.

    Attributes:
        call: the request in the table.
        state: what has arrived.
        caller: sends it.
        awaited: what it waits for, for errors.
        feed_refused: called when a message to its worker was refused; ``None``: nothing but credit is sent.
    """

    awaited = "end of the stream"

    def __init__(
        self, calls: CallTable, call: PendingStream, state: StreamState, caller: Caller, ended: Callable[[], object]
    ) -> None:
        """Prepare to send ``call``; ``ended`` is called when it has ended by itself."""
        self._calls = calls
        self.call = call
        self.state = state
        self.caller = caller
        self.feed_refused: Callable[[FeedRefusal, str], None] | None = None
        self._ended = ended
        self._again: asyncio.TimerHandle | None = None
        self._left = False
        call.run = self

    @property
    def error(self) -> BaseException | None:
        """The error that has ended it; ``None`` if it runs, or a reply has ended it."""
        future = self.call.future
        return future.exception() if future.done() and not future.cancelled() else None

    @property
    def answered(self) -> bool:
        """Whether a worker has ended it, and not a loss."""
        return self.call.future.done() and not isinstance(self.error, ConnectionLostError)

    def send(self, retry: RetryRefused | None) -> None:
        """Enter the table, and send.

        Raises:
            RabiBridgeError: as :meth:`Caller.send`.
        """
        call, calls = self.call, self._calls
        calls.pending[call.request.correlation_id] = call
        call.future.add_done_callback(self._done)
        try:
            if retry is not None:
                calls.refusals.watch(call, retry, self.caller)
            self.caller.send(call.request)
        except BaseException:
            self.leave()
            raise

    def report(self) -> None:
        """Tell the worker how much was consumed, if it is time to.

        Raises:
            ConfigurationError: the caller has no permission to send.
        """
        if self.call.future.done() or not self.state.address:
            return
        consumed = self.state.credit()
        if consumed is not None:
            self._report(consumed)

    def _report(self, consumed: int) -> None:
        try:
            feed(self.caller, self.state.address, self.call.request.correlation_id, {PART: CREDIT, INDEX: consumed})
        except ConnectionLostError:
            return  # the table is told so, too, and ends this

    def refused(self, refusal: FeedRefusal, detail: str) -> None:
        """Called when a message to its worker was refused."""
        if self.feed_refused is not None:
            self.feed_refused(refusal, detail)
        elif issubclass(refusal, QueueFullError) and self._again is None and not self.call.future.done():
            self._again = self.call.future.get_loop().call_later(_AGAIN, self._report_again, context=Context())

    def _report_again(self) -> None:
        self._again = None
        if not self.call.future.done():
            self._report(self.state.consumed)

    def cancel(self) -> None:
        """End it before its end, and tell the workers."""
        future = self.call.future
        if not future.done():
            future.cancel()
            self._calls.cancel(self.call)
        self.leave()

    def abandon(self) -> None:
        """End it before its end, without a word to the workers."""
        self.call.future.cancel()
        self.leave()

    def leave(self) -> None:
        """Leave the table; no effect if it has."""
        if self._left:
            return
        self._left = True
        calls, call = self._calls, self.call
        correlation_id = call.request.correlation_id
        if calls.pending.get(correlation_id) is call:
            del calls.pending[correlation_id]
            if calls.admission.waiting:
                calls.admission.admit()
        if call.ends_at is not None:
            calls.deadlines.discard(correlation_id, call.ends_at)
        if self._again is not None:
            self._again.cancel()

    def _done(self, future: asyncio.Future[Reply]) -> None:
        self.leave()
        if not future.cancelled():
            future.exception()  # it is raised when the reader comes to it, if ever
            self._ended()
        self.state.wake()


def feed(caller: Caller, address: str, correlation_id: bytes, headers: Headers) -> None:
    """Send a message without a body to the worker that processes a request.

    Raises:
        RabiBridgeError: as :meth:`Caller.feed`.
    """
    caller.feed(Request(address, correlation_id, b"", "application/octet-stream", None, None, headers))
