"""Feeds one argument of a call from an iterator of the caller, as fast as the function reads it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import Context, copy_context
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.upload_messages import UploadMessages
from rabibridge_core._protocol.headers import ERROR_MESSAGE, ERROR_TYPE
from rabibridge_core._protocol.remote_errors import encode_error
from rabibridge_core._protocol.streams import (
    END,
    ERROR,
    INDEX,
    PART,
    WINDOW,
    read_index,
    read_window,
)
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import (
    ConnectionLostError,
    ContentRejectedError,
    QueueFullError,
    RabiBridgeError,
    StreamError,
)
from rabibridge_core.transport import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from rabibridge_core._client.stream_run import StreamRun
    from rabibridge_core._codec.codec import Codec
    from rabibridge_core.transport import FeedRefusal, Headers

__all__ = ["Uploading"]

_log = get_logger(__name__)
_limited = LimitedLog(_log)
_REPLY_WITHIN = 2.0
"""How long after a worker is gone its reply may still arrive, in seconds."""


class Uploading:
    """Draws items from an iterator in one task, from its beginning to its end, and sends them as the worker grants.

    What the iterator gives in one turn of the event loop leaves in one message. While the window is used up, items are
    gathered up to 64 KiB or 4,096 of them; then the iterator has to wait. It is closed however the call ends.

    Attributes:
        argument: which argument it feeds: its index as text, or its name.
        error: why the call must end: what the iterator has raised, or why the upload cannot go on.
        begun: whether the iterator was asked for an item, so that the call cannot be sent again.
        told: whether the function that reads was told of the error.
    """

    def __init__(self, source: Any, argument: str, codec: Codec, func_name: str) -> None:
        """Feed ``argument`` from ``source``, an async iterable or an iterator, in the context of the caller."""
        self.argument = argument
        self.error: BaseException | None = None
        self.begun = False
        self.told = False
        self._source = source
        self._encoder = codec.items(None)
        self._func_name = func_name
        self._context = copy_context()
        self._task: asyncio.Task[None] | None = None
        self._run: StreamRun | None = None
        self._address = ""
        self._messages = UploadMessages(self._encoder, self._feed)
        self._flushing = False
        self._room: asyncio.Future[None] | None = None
        self._closed = False
        self._gone: asyncio.TimerHandle | None = None

    def attach(self, run: StreamRun, /) -> None:
        """Feed this request from now on."""
        self._run = run
        self._address = ""
        run.state.on_upload = self._told
        run.feed_refused = self._refused
        run.call.future.add_done_callback(self._run_ended)

    def _run_ended(self, future: object) -> None:
        """Close the iterator when the call ends, and not when the reader of a stream comes to its end.

        The reader may first wait for the iterator.
        """
        if self.begun:
            self.close()

    def close(self) -> None:
        """Send nothing more, and close the iterator."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        if self._gone is not None:
            self._gone.cancel()

    async def wait_closed(self) -> None:
        """Wait until the iterator is closed."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    def _told(self, headers: Headers) -> None:
        """Called with the headers of the first part of a run, and of each credit."""
        run = self._run
        if run is None or self._closed:
            return
        if WINDOW not in headers:
            self._acknowledge(read_index(headers) or 0)
        elif self.begun:
            self._fail(
                StreamError(
                    f"call of {self._func_name!r}: its worker is gone, and the broker has given it to another one; an "
                    "upload of which items were drawn cannot be sent again",
                    func_name=self._func_name,
                )
            )
        else:
            self._begin(run, headers)

    def _begin(self, run: StreamRun, headers: Headers) -> None:
        try:
            self._messages.begin(run.call.request.correlation_id, read_window(headers[WINDOW]))
        except RabiBridgeError as error:
            self._fail(error)
            return
        self._address = run.state.address
        self.begun = True
        loop = run.call.future.get_loop()
        self._task = loop.create_task(self._pump(run), name=f"upload to {self._func_name}", context=self._context)

    async def _pump(self, run: StreamRun) -> None:
        items = _items_of(self._source)
        try:
            async for item in items:
                await self._add(run, self._encoder.encode(item))
            await self._send_gathered()
            self._feed({PART: END, INDEX: self._messages.index})
        except asyncio.CancelledError as error:
            if not self._closed:  # the iterator has raised it, or the event loop ends
                self._fail(self._stopped("its iterator was cancelled"))
                self._tell_failed(error)
            raise
        except Exception as error:  # noqa: BLE001 - the caller gets it
            self._fail(error)
            self._tell_failed(error)
        finally:
            await self._close_source(items)

    async def _add(self, run: StreamRun, encoded: bytes) -> None:
        """Gather one item, and wait until there is room for more."""
        messages = self._messages
        if not messages.has_room_for(encoded):
            await self._send_gathered()
        if messages.add(encoded):
            await self._send_gathered()
            await asyncio.sleep(0)  # an iterator that never waits must not hold up the loop
        elif not self._flushing:
            self._flushing = True
            run.call.future.get_loop().call_soon(self._flush_soon)

    async def _send_gathered(self) -> None:
        self._messages.send()
        while self._messages.waiting:
            await self._wait_for_room()
            self._messages.send()

    def _flush_soon(self) -> None:
        self._flushing = False
        if self._closed or self.error is not None:
            return
        try:
            self._messages.send()
        except RabiBridgeError as error:
            self._fail(error)
            self._tell_failed(error)

    def _feed(
        self,
        headers: Headers,
        body: bytes = b"",
        content_type: str = "application/octet-stream",
        encoding: str | None = None,
    ) -> None:
        run = self._run
        assert run is not None
        correlation_id = run.call.request.correlation_id
        with suppress(ConnectionLostError):  # the table of pending calls is told so, too, and ends the call
            run.caller.feed(Request(self._address, correlation_id, body, content_type, encoding, None, headers))

    def _tell_failed(self, error: BaseException) -> None:
        """Let the function that reads the upload fail, too."""
        self.told = True
        _, described = encode_error(error, "upload")
        try:
            self._feed({PART: ERROR, ERROR_TYPE: described[ERROR_TYPE], ERROR_MESSAGE: described[ERROR_MESSAGE]})
        except RabiBridgeError as untold:  # the call ends with ``error``; its function waits until the deadline
            _limited.log(
                "a worker cannot be told that an upload has failed", logging.WARNING,
                "the worker of %r cannot be told that the upload has failed: %s", self._func_name, untold,
                extra=log_fields("upload.untold", service=self._func_name, error=untold),
            )  # fmt: skip

    async def _wait_for_room(self) -> None:
        self._room = asyncio.get_running_loop().create_future()
        try:
            await self._room
        finally:
            self._room = None

    def _acknowledge(self, consumed: int) -> None:
        self._messages.acknowledge(consumed)
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        elif self._messages.waiting and not self._flushing:
            self._flush_soon()

    def _refused(self, refusal: FeedRefusal, detail: str) -> None:
        """Called when a message was refused: its worker is gone or does not read, or the message is too large."""
        run = self._run
        if run is None or self._closed or self._gone is not None:
            return
        if issubclass(refusal, ContentRejectedError):
            self._fail(ContentRejectedError(f"call of {self._func_name!r}: {detail}"))
            return
        if issubclass(refusal, QueueFullError):
            self._fail(self._stopped("its worker does not read what waits for it"))
            return
        gone = self._stopped(f"the connection of its worker is gone ({detail})")
        loop = run.call.future.get_loop()
        self._gone = loop.call_later(_REPLY_WITHIN, self._fail, gone, context=Context())

    def _stopped(self, why: str) -> StreamError:
        return StreamError(
            f"call of {self._func_name!r}: {why}; an upload of which items were drawn cannot be sent again",
            func_name=self._func_name,
        )

    def _fail(self, error: BaseException) -> None:
        if self.error is None and not self._closed:
            self.error = error
            if self._run is not None:
                self._run.state.wake()

    async def _close_source(self, items: AsyncIterator[Any]) -> None:
        """Close the iterator if it can be closed; of synchronous ones, a generator: a file belongs to the caller."""
        try:
            if (aclose := getattr(items, "aclose", None)) is not None:
                await aclose()
            if isinstance(self._source, GeneratorType):
                self._source.close()
        except Exception:  # noqa: BLE001 - the call has its outcome
            _limited.log(
                "an iterator that feeds a call has failed when it was closed", logging.ERROR,
                "the iterator that feeds %r has failed when it was closed", self._func_name,
                extra=log_fields("upload.source_failed", service=self._func_name), exc_info=True,
            )  # fmt: skip


def _items_of(source: Any) -> AsyncIterator[Any]:
    if hasattr(type(source), "__aiter__"):
        found: AsyncIterator[Any] = aiter(source)
        return found
    return _of_iterator(source)


async def _of_iterator(source: Iterator[Any]) -> AsyncIterator[Any]:
    for item in source:
        yield item
