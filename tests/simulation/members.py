"""The clients and the workers of a simulation: the real ones, on a simulated network."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from rabibridge import RMQClient, RMQServer, ShardedClient
from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.settings import Settings
from rabibridge_testing import memory
from tests.simulation.nodes import Node
from tests.simulation.services import SERVICES
from tests.simulation.wire import SimulatedTransport

if TYPE_CHECKING:
    from rabibridge_core.rpc import RpcClient
    from tests.simulation.wire import SimulatedBroker
    from tests.simulation.world import World

__all__ = ["SETTINGS", "AnyClient", "ClientMember", "Member", "ShardedMember", "WorkerMember"]

AnyClient: TypeAlias = RMQClient | ShardedClient
SETTINGS = Settings(drain_timeout=1.0, call_timeout=60.0, max_pending=64)


class Member:
    """A process with connections.

    Attributes:
        world: what it belongs to.
        node: the process.
        born: when it was started, in seconds.
        over: whether it is gone.
        leaving: whether it was told to stop.
        left_at: when it was told so, in seconds.
        main: its main task.
    """

    main: asyncio.Task[Any]

    def __init__(self, world: World, name: str) -> None:
        """Start a process."""
        self.world = world
        self.node, self.born = Node(name, world.loop, world), world.loop.time()
        self.over = self.leaving = False
        self.left_at: list[float] = []

    @property
    def lost_at(self) -> list[float]:
        """When it has lost a connection, in seconds."""
        return [at for transport in self.node.transports for at in transport.lost_at]

    @property
    def silences(self) -> list[float]:
        """When one of its connections has become silent, in seconds."""
        return [at for transport in self.node.transports for at in transport.silences]

    def connection(self, number: int) -> SimulatedTransport:
        """Return one of its connections."""
        transport: SimulatedTransport = self.node.transports[number % len(self.node.transports)]
        return transport

    async def connected(self, engine: AnyClient | RMQServer) -> bool:
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
        for transport in self.node.transports:
            transport.vanish()


class ClientMember(Member):
    """A client."""

    client: AnyClient

    def __init__(self, world: World, name: str, broker: SimulatedBroker | None = None) -> None:
        """Start a client of ``broker``; ``None``: of the first one."""
        super().__init__(world, name)
        self.client = self._make(broker or world.broker)
        self.main = self.node.spawn(self.connected(self.client), name)

    def _make(self, broker: SimulatedBroker) -> AnyClient:
        transport = self.node.context.run(SimulatedTransport, broker, self.node)
        return self.node.context.run(_make_client, self.world.settings(SETTINGS), transport, self.node.name)

    @property
    def clients(self) -> list[RpcClient]:
        """The clients of single brokers that it consists of."""
        return [self.client] if isinstance(self.client, RMQClient) else list(self.client.shards.values())

    async def close(self) -> None:
        self.leaving = True
        await self.client.close()
        self.over = True


class ShardedMember(ClientMember):
    """A client of all brokers."""

    def _make(self, broker: SimulatedBroker) -> AnyClient:
        return self.node.context.run(_make_sharded, self.world, self.node.name)


class WorkerMember(Member):
    """A worker.

    Attributes:
        broker: what it serves.
    """

    def __init__(self, world: World, name: str, broker: SimulatedBroker | None = None) -> None:
        """Start a worker at ``broker``; ``None``: at the first one."""
        super().__init__(world, name)
        self.broker = broker or world.broker
        self.node.broker = self.broker.name
        self.server = self._make()
        self.main = self.node.spawn(self._serve(), name)

    def _make(self) -> RMQServer:
        transport = self.node.context.run(SimulatedTransport, self.broker, self.node)
        return self.node.context.run(_make_server, transport, self.node.name, self.world.services)

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


def _make_sharded(world: World, name: str) -> ShardedClient:
    for broker in world.brokers:
        memory._brokers[broker.name] = broker
    try:
        return ShardedClient({broker.name: f"memory://{broker.name}" for broker in world.brokers}, name=name)
    finally:
        for broker in world.brokers:
            memory.forget_broker(broker.name)


def _make_server(transport: SimulatedTransport, name: str, services: list[str]) -> RMQServer:
    server = RMQServer(settings=SETTINGS, transport=transport, name=name)
    for service in services:  # none that nobody calls: that would take half of the time
        server.add_service(SERVICES[service].function)
    return server
