"""What a synchronous client and its views call by, on the loop of their connection."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

from rabibridge_core._client.rare_options import plain_headers
from rabibridge_core._client.stream_opening import call_with_upload, open_stream
from rabibridge_core._client.timeouts import (
    TIMEOUT_MAX,
    call_timeout_error,
    normalize_timeout,
    seconds_of,
    within_inherited,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from rabibridge_core._api.calls import ClientView
    from rabibridge_core._client.broadcast import Broadcast
    from rabibridge_core._client.engine import CallEngine
    from rabibridge_core._client.options import AnyOptions, GivenOptions
    from rabibridge_core._client.progress import OnProgress
    from rabibridge_core._client.streaming import Streaming
    from rabibridge_core._client.upload_arguments import UploadArgument

__all__ = ["ConnectionCalls"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ConnectionCalls(ABC):
    """Runs calls of every shape on the loop of a connection, which is connected when it is needed first.

    The coroutine functions run on the loop, by :meth:`run`; what is abstract here and is not described is described by
    :class:`~rabibridge_core._hosting.loop_thread.LoopThread`.
    """

    name: str
    pid: int

    @abstractmethod
    def run(self, function: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]], *args: *Ts) -> T: ...

    @abstractmethod
    def run_or_end(
        self,
        end: Callable[[], Coroutine[Any, Any, None]],
        function: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]],
        *args: *Ts,
    ) -> T: ...

    @abstractmethod
    def end_soon(self, end: Callable[[], Coroutine[Any, Any, None]]) -> None: ...

    @abstractmethod
    def call_soon(self, work: Callable[[], object]) -> None: ...

    @abstractmethod
    async def connect(self) -> None:
        """Connect; no effect when connected."""

    @abstractmethod
    def _is_connected(self) -> bool:
        """Whether calls may be sent, or wait for the connection to be made anew."""

    @abstractmethod
    def _last_error(self) -> str:
        """Why there is no connection; an empty text: that is not known."""

    @abstractmethod
    def _sender(self) -> CallEngine:
        """What sends calls."""

    @abstractmethod
    def _client_view(self, given: GivenOptions) -> ClientView:
        """A view of the asynchronous client with these options."""

    def call(self, func_name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: AnyOptions) -> Any:
        """Run :meth:`remote_call` on the loop, as :meth:`run` does."""
        return self.run(self.remote_call, func_name, args, kwargs, options)

    async def remote_call(
        self, func_name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: AnyOptions
    ) -> Any:
        """Call like :meth:`Client.call`; the timeout includes the time to connect."""
        if not self._is_connected():
            options = await self._connect_for(func_name, options)
        return await self._sender().call(func_name, args, kwargs, options)

    async def notify(
        self,
        given: GivenOptions,
        options: AnyOptions,
        name: str,
        func: Callable[..., Any] | str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """Notify by a view of the client with the options that were given; for the others see :meth:`view`."""
        await (await self.view(given, options, name)).notify(func, *args, **kwargs)

    async def broadcast(
        self,
        given: GivenOptions,
        options: AnyOptions,
        name: str,
        func: Callable[..., Any] | str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Broadcast[Any]:
        """Make a broadcast by a view of the client with the options that were given."""
        return (await self.view(given, options, name)).broadcast(func, *args, **kwargs)

    async def call_with_upload(
        self, func: object, name: str, found: UploadArgument, options: AnyOptions, source: AsyncIterator[Any] | None
    ) -> Any:
        """Call a function one of whose arguments is fed; the timeout includes the time to connect.

        Args:
            func: the function, or its name.
            name: the name of the service.
            found: the argument that is fed.
            options: how to call it.
            source: feeds it; ``None``: itself.
        """
        if not self._is_connected():
            options = await self._connect_for(name, options)
        found = found if source is None else found._replace(source=source)
        return await call_with_upload(self._sender(), func, name, found, options)

    async def stream(
        self,
        given: GivenOptions,
        options: AnyOptions,
        name: str,
        func: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        found: UploadArgument | None,
        source: AsyncIterator[Any] | None,
        on_progress: OnProgress | None,
    ) -> Streaming:
        """Return a stream that is read by a view of the client with the options that were given.

        Args:
            given: the options of the view.
            options: those of a call that is made so.
            name: the name of the service.
            func: the function, or its name.
            args: the positional arguments.
            kwargs: the keyword arguments.
            found: the argument that is fed, if one is.
            source: feeds it; ``None``: itself.
            on_progress: called with the reports of its progress, on the loop; ``None``: they are not wanted.
        """
        view = await self.view(given, options, name)
        client, options = (view if on_progress is None else view.options(on_progress=on_progress))._prepare("any")
        if found is not None and source is not None:
            found = found._replace(source=source)
        return open_stream(client, func, name, args, kwargs, options, given.idle_timeout, found)

    async def view(self, given: GivenOptions, options: AnyOptions, name: str) -> ClientView:
        """Connect, if that is needed, and return a view of the client.

        Args:
            given: the options of the view.
            options: those of a call that is made so, with the headers that it inherits.
            name: the name of the service, for errors.
        """
        if not self._is_connected():
            options = await self._connect_for(name, options)
            if given.timeout is not None:
                given = given._replace(timeout=options[1])
        return self._client_view(given._replace(headers=plain_headers(options[7]), on_progress=None))

    async def _connect_for(self, func_name: str, options: AnyOptions) -> AnyOptions:
        """Connect within the timeout of a call; return its options with the time left."""
        given = options[1]
        timeout = self._sender().call_timeout if given is None else seconds_of(given)
        if options[5]:
            timeout = within_inherited(timeout)
        seconds = timeout if timeout is None or 0 < timeout < TIMEOUT_MAX else normalize_timeout(timeout)
        began = monotonic()
        try:
            async with asyncio.timeout(seconds):
                await self.connect()
        except TimeoutError:
            error = self._last_error()
            why = f"it is not connected: {error}" if error else "it is not connected"
            raise call_timeout_error(func_name, b"", timeout, why, sent=False) from None
        if seconds is None:
            return options
        return (options[0], max(0.0, seconds - (monotonic() - began)), *options[2:])
