"""What the tests on a real RabbitMQ share: a stage with clients and servers, cleared after each test."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aiormq
from aiormq.exceptions import ChannelNotFoundEntity

from rabibridge import RMQClient, RMQServer, register_call
from tests.support.waiting import PATIENCE, soon, until_true

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.broker import Broker

_ONE_TRY = 5.0
"""How long to wait for one of many calls: one that waits in a queue when that is deleted gets no answer."""


async def until_call_gives(client: RMQClient, name: str, result: Any, *args: Any, **options: Any) -> None:
    """Call until ``result`` comes: services change, start and come back some time after they were told to."""

    async def call() -> bool:
        return await client.try_remote_call(name, args, timeout=_ONE_TRY, **options) == (True, (0, result))

    await until_true(call)


async def until_waiting(url: str, queue: str, count: int) -> None:
    """Wait until so many messages wait in a queue."""

    async def look() -> bool:
        try:
            return await waiting_in(url, queue) == count
        except ChannelNotFoundEntity:
            return count == 0  # nobody has needed that queue yet

    await until_true(look)


async def ctl(broker: Broker, *args: str) -> list[list[str]]:
    """Run rabbitmqctl beside the event loop; return its table, without the heading."""
    output = await asyncio.to_thread(broker.ctl, *args)
    return [line.split("\t") for line in output.splitlines()[1:]]


def vhost_of(url: str) -> str:
    return url.rsplit("/", 1)[1] or "/"


class Gate:
    """A function that says when it started and ends when it is told to."""

    def __init__(self) -> None:
        self.started: asyncio.Queue[Any] = asyncio.Queue()
        self.opened = asyncio.Event()
        self.running = 0
        self.most = 0
        self.cancelled = 0

    async def wait(self, what: Any = None) -> Any:
        self.running += 1
        self.most = max(self.most, self.running)
        self.started.put_nowait(what)
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return what

    def function(self) -> Callable[..., Any]:
        async def gate(what: Any = None) -> Any:
            return await self.wait(what)

        return gate

    async def holds(self, count: int) -> list[Any]:
        """Wait until so many more calls have started; return what they were given."""
        return [await soon(self.started.get()) for _ in range(count)]


class Stage:
    """Clients and servers for one test, on one virtual host."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._stack = AsyncExitStack()
        self._running: dict[RMQServer, asyncio.Task[None]] = {}

    def register(self, func: Callable[..., Any], **limits: Any) -> str:
        """Decorate ``func`` under a name that nobody else uses; return that name."""
        func.__name__ = f"{func.__name__}_{secrets.token_hex(4)}"
        register_call(**limits)(func)
        return func.__name__

    async def client(self, **options: Any) -> RMQClient:
        """Return a connected client."""
        options.setdefault("url", self.url)
        client = RMQClient(**options)
        self._stack.push_async_callback(client.close)
        await soon(client.connect())
        return client

    def new_server(self, **options: Any) -> RMQServer:
        """Return a server that is not connected yet."""
        options.setdefault("url", self.url)
        server = RMQServer(**options)
        self._stack.push_async_callback(server.close)
        return server

    async def server(self, *functions: Callable[..., Any], start: bool = True, **options: Any) -> RMQServer:
        """Return a connected server of registered functions, which serves unless asked not to."""
        server = self.new_server(**options)
        server.load_services({str(number): function for number, function in enumerate(functions)})
        await soon(server.connect())
        if start:
            self.start(server)
        return server

    def start(self, server: RMQServer, *, reload: bool = False) -> asyncio.Task[None]:
        """Let a server serve until the end of the test; return the task."""
        task = self._running[server] = asyncio.create_task(server.run_serve(reload=reload))
        self._stack.push_async_callback(self._ended, task)
        self._stack.push_async_callback(server.close)
        return task

    async def serve(self, func: Callable[..., Any], **limits: Any) -> str:
        """Serve one function and return its name."""
        name = self.register(func, **limits)
        await self.server(func)
        return name

    async def _ended(self, task: asyncio.Task[None]) -> None:
        await task

    async def close(self) -> None:
        """Close everything, the newest first."""
        async with asyncio.timeout(2 * PATIENCE):
            await self._stack.aclose()


async def waiting_in(url: str, queue: str) -> int:
    """Return how many messages wait in a queue."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        declared = await channel.queue_declare(queue, passive=True)
        return declared.message_count or 0
    finally:
        await connection.close()
