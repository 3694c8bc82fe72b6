"""The clients and the workers of a simulation: the real ones, on a simulated network."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge import RMQClient, RMQServer
from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.settings import Settings
from tests.simulation.nodes import Node
from tests.simulation.services import SERVICES
from tests.simulation.wire import SimulatedTransport

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["ClientMember", "Member", "WorkerMember"]

_SETTINGS = Settings(drain_timeout=1.0, call_timeout=60.0, max_pending=64)


class Member:
    """A process with a connection.

    Attributes:
        world: what it belongs to.
        node: the process.
        transport: its connection.
        over: whether it is gone.
        leaving: whether it was told to stop.
        left_at: when it was told so, in seconds.
        main: its main task.
    """

    main: asyncio.Task[Any]

    def __init__(self, world: World, name: str) -> None:
        """Start a process."""
        self.world = world
        self.node = Node(name, world.loop, world)
        self.transport = self.node.context.run(SimulatedTransport, world.broker, self.node)
        self.over = self.leaving = False
        self.left_at: list[float] = []

    async def connected(self, engine: RMQClient | RMQServer) -> bool:
        """Connect, as often as needed; return whether it is connected, and not stopped."""
        while True:
            try:
                await engine.connect()
            except ConnectionLostError:
                if self.leaving:
                    return False
                await asyncio.sleep(0.2)
            else:
                return True

    async def close(self) -> None:
        """Close."""
        raise NotImplementedError

    def kill(self) -> None:
        """Let the process die, as SIGKILL does."""
        self.over = True
        self.node.kill()
        self.transport.partitioned = True
        self.transport.abort(restore=False)
        if self.transport in self.world.broker.transports:
            self.world.broker.transports.remove(self.transport)


class ClientMember(Member):
    """A client."""

    def __init__(self, world: World, name: str) -> None:
        """Start a client."""
        super().__init__(world, name)
        settings = world.settings(_SETTINGS)
        self.client = self.node.context.run(_make_client, settings, self.transport, name)
        self.main = self.node.spawn(self.connected(self.client), name)

    async def close(self) -> None:
        self.leaving = True
        await self.client.close()
        self.over = True


class WorkerMember(Member):
    """A worker."""

    def __init__(self, world: World, name: str) -> None:
        """Start a worker."""
        super().__init__(world, name)
        self.server = self.node.context.run(_make_server, self.transport, name, world.services)
        self.main = self.node.spawn(self._serve(), name)

    async def _serve(self) -> None:
        try:
            if await self.connected(self.server):
                await self.server.run_serve(signals=False)
        except ConnectionLostError:
            if not self.leaving:
                raise
        finally:
            self.over = True
            await self.server.close()

    async def close(self) -> None:
        self.leaving = True
        await self.server.close()
        self.over = True


def _make_client(settings: Settings, transport: SimulatedTransport, name: str) -> RMQClient:
    return RMQClient(settings=settings, transport=transport, name=name)


def _make_server(transport: SimulatedTransport, name: str, services: list[str]) -> RMQServer:
    server = RMQServer(settings=_SETTINGS, transport=transport, name=name)
    for service in services:  # none that nobody calls: that would take half of the time
        server.add_service(SERVICES[service].function)
    return server
