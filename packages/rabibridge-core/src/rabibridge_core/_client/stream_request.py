"""The requests of one stream: the first one, and those with which it begins again or goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rabibridge_core._client.progress import ProgressHeaders
from rabibridge_core._client.timeouts import call_timeout_error
from rabibridge_core._protocol.payloads import readdress_request
from rabibridge_core._protocol.progress import WANTS_PROGRESS
from rabibridge_core._protocol.streams import START, STREAM, UPLOAD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.preparation import Preparation, Prepared
    from rabibridge_core._client.stream_run import StreamRun
    from rabibridge_core._protocol.streams import Window
    from rabibridge_core.transport import Request

__all__ = ["StreamCall", "StreamRequests", "Upload"]


class Upload(Protocol):
    """What feeds an argument of a call.

    Attributes:
        argument: which one it is: its index as text, or its name.
        error: what the iterator of the caller has raised; ``None``: nothing.
        begun: whether anything was drawn from that iterator, so that the call cannot be sent again.
        told: whether the function that reads was told of the error.
    """

    argument: str
    error: BaseException | None
    begun: bool
    told: bool

    def attach(self, run: StreamRun, /) -> None:
        """Feed this request from now on."""
        ...

    def close(self) -> None:
        """Feed nothing more; the call has ended."""
        ...

    async def wait_closed(self) -> None:
        """Wait until the iterator is closed."""
        ...


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
    upload: Upload | None = None


class StreamRequests:
    """Makes the requests of one stream, and tells the plug-ins once that it begins and ends.

    Attributes:
        timeout: the timeout of the whole stream, in seconds; ``None``: no limit.
    """

    def __init__(self, preparation: Preparation, call: StreamCall, window: Window | None) -> None:
        """Make nothing yet; without a ``window`` the caller wants one result, and only feeds an argument."""
        self.timeout: float | None = None
        self._preparation = preparation
        self._call = call
        self._window = window
        self._prepared: Prepared | None = None
        self._ends_at: float | None = None

    async def next(self, first: int) -> tuple[Request, float | None]:
        """Wait until something may be sent; return the request for the items from ``first`` on, and its time left.

        Raises:
            RabiBridgeError: as :meth:`Preparation.prepare`.
        """
        request, time_left = await (self._make() if self._prepared is None else self._make_again(self._prepared))
        if time_left is not None and time_left <= 0:
            raise call_timeout_error(self._call.func_name, request.correlation_id, self.timeout, "", sent=first > 0)
        own: dict[str, Any] = {**(request.headers or {})}
        if self._window is not None:
            own[STREAM] = str(self._window)
        if first:
            own[START] = first
        if type(self._call.options[7]) is ProgressHeaders:
            own[WANTS_PROGRESS] = True
        if self._call.upload is not None:
            own[UPLOAD] = self._call.upload.argument
        return request._replace(headers=own, persistent=False), time_left

    def finished(self, error: BaseException | None) -> None:
        """Called when the stream has ended; no effect if nothing was prepared, or if it was called before."""
        if self._prepared is not None:
            self._preparation.finished(self._call.func_name, self._prepared, error)
            self._prepared = None

    async def _make(self) -> tuple[Request, float | None]:
        preparation, call = self._preparation, self._call
        self.timeout = preparation.timeout(call.options[1], preparation.call_timeout, inherit=call.options[5])
        route, options = preparation.inherited(call.func_name, call.route, call.options)
        self._prepared = prepared = await preparation.prepare(
            call.func_name, route, call.args, call.kwargs, options, self.timeout, keyed=False, streams=True
        )
        if prepared.time_left is not None:
            self._ends_at = asyncio.get_running_loop().time() + prepared.time_left
        return prepared.request, prepared.time_left

    async def _make_again(self, prepared: Prepared) -> tuple[Request, float | None]:
        client, calls = self._preparation.client, self._preparation.client.calls
        time_left = None if self._ends_at is None else self._ends_at - asyncio.get_running_loop().time()
        caller = client.connected()
        if caller.paused or len(calls.pending) >= calls.admission.limit:
            time_left = await client.admitted(self._call.func_name, self.timeout, time_left)
        request: Request = readdress_request(self._preparation.codec, prepared.request, calls.free_id(next(calls.ids)))
        return request, time_left
