"""Runs functions that stream, or have an argument that callers can feed.

The function runs where any other does: validated, with its providers, on the event loop or in a thread. What is put in
its place drives the generator, and what is put in the place of an argument reads the upload.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_core._observability.call_context import current_call_var
from rabibridge_core._protocol.headers import IDEMPOTENT, KEY_LEARNED
from rabibridge_core._protocol.payloads import UnreadableRequestError
from rabibridge_core._protocol.streams import (
    ADDRESS,
    LAST_ITEMS,
    RESUMABLE,
    START,
    STREAM,
    UPLOAD,
    WINDOW,
    read_index,
    read_window,
    window_for,
)
from rabibridge_core._server.exceptions import ArgumentsRefusedError, NotStartedError
from rabibridge_core._server.generators import ThreadItems, drive_async, drive_in_thread
from rabibridge_core._server.injecting import executor_for
from rabibridge_core._server.stream_parts import PartWriter
from rabibridge_core._server.stream_sessions import StreamSession
from rabibridge_core._server.streams import StreamSender
from rabibridge_core._server.upload_arguments import UploadArguments
from rabibridge_core._server.upload_iterators import AsyncUpload, Upload
from rabibridge_core._server.uploads import UploadReader
from rabibridge_core.errors import ConnectionLostError, ContentRejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._server.executors import HandlerExecutor
    from rabibridge_core._server.process_scope import ProcessScope
    from rabibridge_core._server.stream_sessions import StreamSessions
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import HeaderValue, IncomingRequest

__all__ = ["StreamingExecutor", "has_key_of_its_own"]


def has_key_of_its_own(request: IncomingRequest) -> bool:
    """Tell whether an idempotency key of a request counts: it does not for streams and uploads.

    Raises:
        ArgumentsRefusedError: the caller relies on the key, and the request is a stream or an upload.
    """
    headers = request.headers
    if STREAM not in headers and UPLOAD not in headers:
        return True
    if headers.get(KEY_LEARNED) is True:
        return False
    raise ArgumentsRefusedError from ValueError(
        "a stream or an upload cannot have an idempotency key: its items are not kept, and cannot be sent again"
    )


class StreamingExecutor:
    """Runs the function of one service that streams, or has an argument that callers can feed."""

    inline = None

    def __init__(
        self, schema: ServiceSchema, process: ProcessScope | None, codec: Codec, sessions: StreamSessions
    ) -> None:
        """Prepare to run the function of ``schema``.

        Args:
            schema: the service.
            process: what lives longer than a call.
            codec: encodes and decodes items.
            sessions: gets a session for each request that streams or is fed.
        """
        self._schema = schema
        self._codec = codec
        self._sessions = sessions
        self._uploads = UploadArguments(schema)
        self._upload_window = window_for(min(codec.max_body, codec.max_decompressed))
        drive = None
        if schema.streams:
            drive = self._drive_async(schema.func_ptr) if schema.is_async else self._drive_in_thread(schema.func_ptr)
        self._executor: HandlerExecutor = executor_for(schema, process, handler=drive)
        # The executor would do no more than to call what drives it.
        self._direct = schema.func_ptr if schema.streams and schema.is_async and self._executor.inline else None

    @property
    def problem(self) -> str:
        """Why no function can be started now; empty: nothing is known."""
        return self._executor.problem

    async def run(self, args: Sequence[Any], kwargs: Mapping[str, Any], active: ActiveRequest) -> Any:
        """Run the function, and return its result; ``None`` once the items of a stream were sent, but for the last.

        The session of the request remains, until it is settled.

        Raises:
            ArgumentsRefusedError: the arguments do not fit, or the request is of another kind than the service.
            UnsendableItemError: an item cannot be sent.
            BaseException: what :meth:`HandlerExecutor.run` raises.
        """
        headers = active.request.headers
        streams, fed = STREAM in headers, headers.get(UPLOAD)
        if streams != self._schema.streams:
            raise ArgumentsRefusedError from TypeError(_wrong_kind(self._schema.name, streams=self._schema.streams))
        if fed is None and not streams:
            args, kwargs = self._uploads.plain(args, kwargs)
            return await self._executor.run(args, kwargs, active)
        session = self._open(active, streams=streams, fed=fed is not None)
        if fed is not None:
            args, kwargs = self._feed(session, fed, args, kwargs)
        active.session = session
        self._sessions.add(session)
        try:
            if self._direct is None or session.sender is None:
                result = await self._executor.run(args, kwargs, active)
            else:
                await drive_async(self._direct, args, kwargs, session.sender, active)
                result = None
        except asyncio.CancelledError:
            session.check()
            raise
        except BaseException:
            if active.stop_reason is None:
                await session.finish()  # what was yielded before the error comes before it
            raise
        else:
            if headers.get(LAST_ITEMS) is not True or not session.leave_last():
                await session.finish()
        finally:
            session.stop()
        return result

    @property
    def finished(self) -> bool:
        """See :attr:`HandlerExecutor.finished`."""
        return self._executor.finished

    async def start(self) -> None:
        """Start what must be there before the first call."""
        await self._executor.start()

    async def wait_closed(self) -> None:
        """See :meth:`HandlerExecutor.wait_closed`."""
        await self._executor.wait_closed()

    def close(self, *, drop_waiting: bool) -> None:
        """Let the threads end after the functions that run in them."""
        self._executor.close(drop_waiting=drop_waiting)

    def _open(self, active: ActiveRequest, *, streams: bool, fed: bool) -> StreamSession:
        schema, request = self._schema, active.request
        address = request.address
        if not request.wants_reply:
            raise ArgumentsRefusedError from TypeError(
                f"a notification or broadcast of {schema.name!r} can neither be streamed nor be fed"
            )
        if not address:
            raise NotStartedError from ConnectionLostError(
                f"the worker of {schema.name!r} cannot be sent further messages now, which streams and uploads need"
            )
        first: dict[str, HeaderValue] = {ADDRESS: address}
        if schema.resumable:
            first[RESUMABLE] = True
        if schema.idempotent:
            first[IDEMPOTENT] = True
        if fed:
            first[WINDOW] = str(self._upload_window)
        start = self._start(active) if START in request.headers else 0
        session = StreamSession(active, PartWriter(request, first), start)
        if streams:
            try:
                window = read_window(request.headers[STREAM])
            except ContentRejectedError as error:
                raise UnreadableRequestError from error
            session.sender = StreamSender(
                session.parts, self._codec, request,
                name=schema.name, window=window, start=start, failed=session.failed, others=self._sessions.__len__,
            )  # fmt: skip
            if not schema.is_async:
                session.thread_items = ThreadItems(session.sender)
        return session

    def _start(self, active: ActiveRequest) -> int:
        headers, name = active.request.headers, self._schema.name
        start = read_index(headers, START)
        if start is None:
            raise UnreadableRequestError from ContentRejectedError(
                f"the header {START} of the request is {repr(headers[START])[:80]}; it must be a whole number"
            )
        if start and not self._schema.resumable:
            raise ArgumentsRefusedError from TypeError(
                f"the service {name!r} is not resumable: its streams begin with their first item"
            )
        return start

    def _feed(
        self, session: StreamSession, fed: object, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        argument = self._uploads.named(fed, args, kwargs)
        request = session.active.request
        session.reader = reader = UploadReader(
            session.parts,
            self._codec,
            name=self._schema.name,
            argument=argument,
            correlation_id=request.correlation_id,
            window=self._upload_window,
            adapter=self._uploads.adapters.get(argument),
        )
        if session.sender is None:
            asyncio.get_running_loop().call_soon(session.open)
        iterator = AsyncUpload(reader) if self._schema.is_async else Upload(reader)
        return self._uploads.put(fed, iterator, args, kwargs)

    def _drive_async(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        def drive(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, None]:
            session = self._current()
            assert session.sender is not None
            return drive_async(handler, args, kwargs, session.sender, session.active)

        return drive

    def _drive_in_thread(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        def drive(*args: Any, **kwargs: Any) -> None:
            session = self._current()
            assert session.sender is not None
            assert session.thread_items is not None
            drive_in_thread(handler, args, kwargs, session.sender, session.thread_items)

        return drive

    def _current(self) -> StreamSession:
        session = self._sessions.of(current_call_var.get())
        assert session is not None
        return session


def _wrong_kind(name: str, *, streams: bool) -> str:
    if streams:
        return f"the service {name!r} streams its items, and has no single result: use client.stream"
    return f"the service {name!r} does not stream: use client.call"
