"""What the faults of a soak break: workers and callers on networks of their own, and the broker."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from rabibridge.settings import rabbitmq_settings
from rabibridge_core.settings import load_settings
from tests.chaos.ledger import PLENTY
from tools.soak.plans import BASIC, BOUNDED_STREAMS, PLANS, SERVICES, STREAMS
from tools.soak.streams import StreamLoad

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from rabibridge import RMQClient
    from rabibridge_core.settings import Settings
    from tests.chaos.load import Load
    from tests.chaos.rig import Rig
    from tests.support.processes import Process
    from tests.support.proxy import Proxy

__all__ = ["Field", "FieldLoad"]

QUEUE_TYPES = ("classic", "quorum")
_BUSY = 0.5


class FieldLoad:
    """Calls and streams on all clients."""

    def __init__(self, calls: Sequence[Load], streams: Sequence[StreamLoad]) -> None:
        self.calls = calls
        self.streams = streams

    @property
    def results(self) -> int:
        return sum(load.results for load in self.calls)

    async def flows(self) -> None:
        """Wait until every client gets results of calls, and has read or fed a stream to its end."""
        await asyncio.gather(*(load.flows() for load in self.calls), *(load.flows() for load in self.streams))

    async def end(self, rig: Rig) -> None:
        """Return when all calls and streams have ended."""
        await asyncio.gather(rig.end_load(), *(load.end() for load in self.streams))


class Field:
    """Two workers and two clients for each type of queue; half of the clients receive replies by direct reply-to.

    Each type has a namespace, because a queue cannot change its type.

    Attributes:
        dice: decides everything that is left to chance; its seed makes a soak repeatable.
        clients: for each type of queue, one with a queue for replies and one with direct replies.
        callers_networks: two, each with a client of each type and of each way to get replies.
        lasting: the workers that live through all faults, so that their memory can be compared.
        node: held by whoever does something to the broker.
    """

    def __init__(self, rig: Rig, dice: random.Random, callers: int, readers: int) -> None:
        """Start nothing; the numbers are those of each client."""
        self.rig = rig
        self.dice = dice
        self.clients: list[RMQClient] = []
        self.callers_networks: list[Proxy] = []
        self.workers_network: Proxy
        self.lasting: list[Process] = []
        self.node = asyncio.Lock()
        self._types: dict[int, str] = {}
        self._callers = callers
        self._readers = readers

    async def set_up(self) -> None:
        """Start workers and clients, use every service once, and note what there is."""
        rig = self.rig
        self.workers_network = await rig.network()
        self.callers_networks = [await rig.network(), await rig.network()]
        self.lasting = await asyncio.gather(*(self.start(each, self.workers_network) for each in QUEUE_TYPES))
        await asyncio.gather(*(self.start(each) for each in QUEUE_TYPES))
        for number, queue_type in enumerate(QUEUE_TYPES):
            for direct in (False, True):
                network = self.callers_networks[(number + direct) % 2]
                settings = _settings(network.url, queue_type, direct=direct)
                self.clients.append(await rig.client(settings=settings))
        for client in self.clients:
            streams = StreamLoad(rig.ledger.ids, client, STREAMS, 0)
            for plan in dict.fromkeys(replace(plan, timeout=PLENTY) for plan in STREAMS):
                entry = await streams.read(plan)
                if entry.error is not None:
                    raise entry.error
        for client in self.clients:
            await rig.note_baseline(client, *BASIC)

    async def load(self) -> FieldLoad:
        """Put load on all services by all clients; returns when it flows."""
        rig = self.rig
        calls = await asyncio.gather(
            *(rig.load(client, *PLANS, callers=self._callers, busy=_BUSY) for client in self.clients)
        )
        streams = [
            StreamLoad(
                rig.ledger.ids,
                client,
                BOUNDED_STREAMS if rabbitmq_settings(client.settings).direct_reply else STREAMS,
                self._readers,
            )
            for client in self.clients
        ]
        return FieldLoad(calls, streams)

    async def start(self, queue_type: str, network: Proxy | None = None) -> Process:
        """Start a worker for this type of queue."""
        worker = await self.rig.worker(
            url=self.rig.url if network is None else network.url,
            services=SERVICES,
            RABIBRIDGE_CONNECT_TIMEOUT="120",
            RABIBRIDGE_QUEUE_TYPE=queue_type,
            RABIBRIDGE_NAMESPACE=queue_type,
        )
        self._types[worker.pid] = queue_type
        return worker

    async def replace(self, worker: Process) -> None:
        """Start another worker for one that has been taken out, on one network or the other."""
        await self.start(self._types.pop(worker.pid), self.dice.choice([None, self.workers_network]))

    def take_out(self, *, any_of_them: bool = False) -> Process:
        """Take a worker from those that are to run; one that lasts only where any of them will do."""
        workers = [worker for worker in self.rig.workers if any_of_them or worker not in self.lasting]
        worker = self.dice.choice(workers)
        self.rig.workers.remove(worker)
        return worker

    async def forget(self) -> None:
        """Forget the calls, the processes that have ended and the connections that are closed."""
        await self.rig.forget_calls()
        for network in (*self.callers_networks, self.workers_network):
            network.forget_closed()

    def some_network(self) -> Proxy:
        return self.dice.choice([*self.callers_networks, self.workers_network])


def _settings(url: str, namespace: str, *, direct: bool) -> Settings:
    settings = load_settings(url=url)
    transport = replace(rabbitmq_settings(settings), direct_reply=direct)
    return replace(settings, namespace=namespace, transport=transport)
