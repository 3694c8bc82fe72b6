"""The connection of a synchronous client in one process: an async client, and the thread that runs its event loop."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.rare_options import plain_headers
from rabibridge_core._client.stream_opening import call_with_upload, open_stream
from rabibridge_core._client.timeouts import (
    TIMEOUT_MAX,
    call_timeout_error,
    normalize_timeout,
    seconds_of,
    within_inherited,
)
from rabibridge_core._hosting.loop_thread import LoopThread
from rabibridge_core.transport import ConnectionState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from rabibridge_core._api.calls import ClientView
    from rabibridge_core._api.client import RpcClient
    from rabibridge_core._client.broadcast import Broadcast
    from rabibridge_core._client.options import AnyOptions, GivenOptions
    from rabibridge_core._client.progress import OnProgress
    from rabibridge_core._client.streaming import Streaming
    from rabibridge_core._client.upload_arguments import UploadArgument

__all__ = ["SyncConnection"]


class SyncConnection(LoopThread):
    """Connects ``client`` when it is needed first, and again after the connection was given up.

    The coroutine functions run on the loop, by :meth:`run`.
    """

    def __init__(self, client: RpcClient, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None) -> None:
        """Own ``client``, which is not connected yet."""
        super().__init__(client.name, client.close, loop_factory)
        self.client = client
        self._engine = client._client
        self._connected = False

    async def connect(self) -> None:
        """Connect; no effect when connected."""
        client = self.client
        if client.state is ConnectionState.CLOSED:
            self._connected = False
        await client.connect()
        self._engine = client._client  # connect() makes another one after the connection was given up
        self._connected = True

    def call(self, func_name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: AnyOptions) -> Any:
        """Run :meth:`remote_call` on the loop, as :meth:`run` does."""
        return self._run(self.remote_call, (func_name, args, kwargs, options), direct=True)

    def _direct_function(self) -> Callable[..., Coroutine[Any, Any, Any]] | None:
        engine = self._engine
        # It waits for nothing but its reply then. Plug-ins that observe calls may expect to run in a task.
        return engine.call if engine.calls.sends_at_once and engine.observer is None else None

    async def remote_call(
        self, func_name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: AnyOptions
    ) -> Any:
        """Call like :meth:`Client.call`; the timeout includes the time to connect."""
        if not self._connected or self.client.state is ConnectionState.CLOSED:
            options = await self._connect_for(func_name, options)
        return await self._engine.call(func_name, args, kwargs, options)

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
        if not self._connected or self.client.state is ConnectionState.CLOSED:
            options = await self._connect_for(name, options)
        found = found if source is None else found._replace(source=source)
        return await call_with_upload(self._engine, func, name, found, options)

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
        if not self._connected or self.client.state is ConnectionState.CLOSED:
            options = await self._connect_for(name, options)
            if given.timeout is not None:
                given = given._replace(timeout=options[1])
        return self.client._view(given._replace(headers=plain_headers(options[7]), on_progress=None))

    async def _connect_for(self, func_name: str, options: AnyOptions) -> AnyOptions:
        """Connect within the timeout of a call; return its options with the time left."""
        given = options[1]
        timeout = self.client.settings.call_timeout if given is None else seconds_of(given)
        if options[5]:
            timeout = within_inherited(timeout)
        seconds = timeout if timeout is None or 0 < timeout < TIMEOUT_MAX else normalize_timeout(timeout)
        began = monotonic()
        try:
            async with asyncio.timeout(seconds):
                await self.connect()
        except TimeoutError:
            why = f"it is not connected: {self.client.last_error}" if self.client.last_error else "it is not connected"
            raise call_timeout_error(func_name, b"", timeout, why, sent=False) from None
        if seconds is None:
            return options
        return (options[0], max(0.0, seconds - (monotonic() - began)), *options[2:])
