"""The requests of one stream: the first one, and those with which it begins again or goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rabibridge_core._client.preparation import limit_of
from rabibridge_core._client.rare_options import wanted_progress
from rabibridge_core._client.timeouts import call_timeout_error
from rabibridge_core._protocol.payloads import encode_request, readdress_request
from rabibridge_core._protocol.progress import WANTS_PROGRESS
from rabibridge_core._protocol.streams import DEFAULT_WINDOW, LAST_ITEMS, START, STREAM, STREAM_HEADERS, UPLOAD
from rabibridge_core.errors import CallTimeoutError, ConnectionLostError
from rabibridge_core.plugins.observing import report, start_call, with_headers
from rabibridge_core.transport import Request

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from rabibridge_core._client.call_chains import Suspicion
    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.preparation import Preparation
    from rabibridge_core._client.stream_run import StreamRun
    from rabibridge_core._protocol.streams import Window
    from rabibridge_core.plugins.observers import CallObserver
    from rabibridge_core.transport import Caller, Headers

__all__ = ["StreamCall", "StreamRequests", "Upload"]

_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple


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

    __slots__ = (
        "_began", "_call", "_ends_at", "_joined", "_observed", "_preparation", "_request", "_suspected", "_window",
        "timeout",
    )  # fmt: skip

    def __init__(self, preparation: Preparation, call: StreamCall, window: Window | None) -> None:
        """Make nothing yet; without a ``window`` the caller wants one result, and only feeds an argument."""
        self.timeout: float | None = None
        self._preparation = preparation
        self._call = call
        self._window = window
        self._began = False
        self._ends_at: float | None = None
        self._request: Request | None = None
        self._joined: tuple[str, AnyOptions] | None = None
        self._suspected: Suspicion | None = None
        self._observed: CallObserver | None = None

    def time_left(self, loop: asyncio.AbstractEventLoop) -> float | None:
        """Return how long the stream may take from now on; its timeout begins when this is called first."""
        if self._began:
            return None if self._ends_at is None else self._ends_at - loop.time()
        self._began = True
        if (observer := self._preparation.client.observer) is not None:
            self._observed = start_call(observer, "call" if self._window is None else "stream", self._call.func_name)
        preparation, options = self._preparation, self._call.options
        self.timeout = preparation.timeout(options[1], preparation.call_timeout, inherit=options[5])
        time_left = limit_of(self.timeout)
        if time_left is not None:
            self._ends_at = loop.time() + time_left
        return time_left

    def caller(self) -> Caller | None:
        """Return what sends requests; ``None``: :meth:`wait` until something may be sent.

        Raises:
            ConnectionLostError: the client is closed or not connected.
        """
        client = self._preparation.client
        caller, calls = client.connected(), client.calls
        if self._joined is None:
            preparation, call = self._preparation, self._call
            route, options = preparation.inherited(call.func_name, call.route, call.options)
            options, self._suspected = preparation.joined(call.func_name, options)
            self._joined = route, options
            if self._suspected is not None:
                return None
        return None if caller.paused or len(calls.pending) >= calls.admission.limit else caller

    async def wait(self, time_left: float | None) -> float | None:
        """Wait until something may be sent; return how long the stream may take after that.

        Raises:
            RabiBridgeError: as :meth:`Preparation.prepare`.
        """
        suspected, self._suspected = self._suspected, None
        if suspected is not None and self._joined is not None:
            time_left = await self._preparation.chains.refuse(suspected, self._joined[0], time_left)
        try:
            return await self._preparation.client.admitted(self._call.func_name, self.timeout, time_left)
        except (CallTimeoutError, ConnectionLostError) as error:
            if self._request is not None:  # it was sent before, and may have run then
                error.executed = None
            raise

    def next(self, first: int, time_left: float | None) -> Request:
        """Return the request for the items from ``first`` on.

        Raises:
            RabiBridgeError: as :meth:`Preparation.prepare`.
        """
        preparation, call, calls = self._preparation, self._call, self._preparation.client.calls
        correlation_id = calls.free_id(next(calls.ids))
        if time_left is not None and time_left <= 0:
            raise call_timeout_error(
                call.func_name, correlation_id, self.timeout, "", sent=first > 0 or self._request is not None
            )
        if self._request is None:
            self._request = request = self._make(correlation_id, time_left)
        else:
            request = readdress_request(preparation.codec, self._request, correlation_id)._replace(timeout=time_left)
            if self._observed is not None:
                report(self._observed.sent_again, correlation_id)
        if first:
            request = request._replace(headers={**(request.headers or {}), START: first})
        return request

    def finished(self, error: BaseException | None, items: int) -> None:
        """Called when the stream has ended, and ``items`` were taken; no effect before it has begun, or twice."""
        observed, self._observed = self._observed, None
        if observed is not None:
            report(observed.ended, error, None if self._window is None else items)

    def _make(self, correlation_id: bytes, time_left: float | None) -> Request:
        preparation, call = self._preparation, self._call
        assert self._joined is not None
        route, options = self._joined
        body, content_type, encoding = encode_request(
            preparation.codec, call.args, call.kwargs, correlation_id, call.func_name, streams=True
        )
        headers = options[7]
        if self._observed is not None:
            headers = with_headers(self._observed, correlation_id, time_left, headers)
        own = STREAM_HEADERS
        if not (headers is None and self._window is DEFAULT_WINDOW and call.upload is None and call.options[7] is None):
            own = self._headers(headers)
        fields = (route, correlation_id, body, content_type, encoding, time_left, own, False)
        request: Request = _new_tuple(Request, fields)
        return request

    def _headers(self, headers: Headers | None) -> dict[str, Any]:
        call, own = self._call, {**(headers or {})}
        if self._window is not None:
            own[STREAM] = str(self._window)
            own[LAST_ITEMS] = True
        if wanted_progress(call.options[7]) is not None:
            own[WANTS_PROGRESS] = True
        if call.upload is not None:
            own[UPLOAD] = call.upload.argument
        return own
