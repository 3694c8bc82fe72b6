"""The faults of a soak. Each breaks something, and everything is whole again when it returns."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

from tests.chaos.ledger import Plan

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from rabibridge import RMQClient
    from tests.chaos.rig import Rig
    from tests.support.processes import Process
    from tests.support.proxy import Proxy

__all__ = ["FAULTS", "NOWHERE", "Field"]

NOWHERE = Plan("nowhere", timeout=0.02)
SLOW = Plan("work", (5.0, 5.0))


class Field:
    """What the faults break: workers and callers on networks of their own, and the broker.

    Attributes:
        dice: decides everything that is left to chance; its seed makes a soak repeatable.
    """

    def __init__(self, rig: Rig, dice: random.Random) -> None:
        self.rig = rig
        self.dice = dice
        self.client: RMQClient
        self.callers_network: Proxy
        self.workers_network: Proxy
        self._node = asyncio.Lock()

    async def set_up(self) -> None:
        """Start three workers, two of them on a network that can be broken, and a client on another."""
        self.callers_network, self.workers_network = await self.rig.network(), await self.rig.network()
        await asyncio.gather(self._start(), self._start(self.workers_network), self._start(self.workers_network))
        self.client = await self.rig.client(self.callers_network.url)

    async def _start(self, network: Proxy | None = None) -> None:
        await self.rig.worker(url=self.rig.url if network is None else network.url, RABIBRIDGE_CONNECT_TIMEOUT="120")

    def _some_worker(self) -> Process:
        return self.rig.workers.pop(self.dice.randrange(len(self.rig.workers)))

    async def _pause(self) -> None:
        await asyncio.sleep(self.dice.uniform(1, 4))

    async def kill_worker(self) -> None:
        """SIGKILL, and another one starts."""
        self._some_worker().kill()
        await self._start(self.dice.choice([None, self.workers_network]))

    async def end_worker(self) -> None:
        """SIGTERM, and another one starts."""
        worker = self._some_worker()
        worker.send(signal.SIGTERM)
        await self._start(self.dice.choice([None, self.workers_network]))
        code = await worker.ended()
        if code != 0:
            raise AssertionError(f"a worker that was told to end did so with {code}: {worker.log.read_text()}")

    async def freeze_worker(self) -> None:
        """SIGSTOP for longer than the broker waits for its heartbeats."""
        worker = self._some_worker()
        worker.send(signal.SIGSTOP)
        await asyncio.sleep(self.dice.uniform(2, 8))
        worker.send(signal.SIGCONT)
        self.rig.workers.append(worker)

    async def reset_callers(self) -> None:
        """Reset the TCP connections of the callers."""
        for _ in range(self.dice.randint(1, 3)):
            self.callers_network.cut()
            await asyncio.sleep(self.dice.uniform(0, 1.5))

    async def reset_workers(self) -> None:
        """TCP resets for some workers."""
        for _ in range(self.dice.randint(1, 3)):
            self.workers_network.cut()
            await asyncio.sleep(self.dice.uniform(0, 1.5))

    async def silence(self) -> None:
        """A network on which nothing passes, in one direction or in both."""
        network = self.dice.choice([self.callers_network, self.workers_network])
        network.freeze(**self.dice.choice([{}, {"up": False}, {"down": False}]))
        await asyncio.sleep(self.dice.uniform(1, 8))
        network.thaw()

    async def delay(self) -> None:
        """A network that takes its time."""
        network = self.dice.choice([self.callers_network, self.workers_network])
        network.delay = self.dice.uniform(0.01, 0.1)
        await self._pause()
        network.delay = 0.0

    async def hang_up(self) -> None:
        """The broker closes all connections, as an operator may tell it to."""
        async with self._node:
            await self.rig.chaos_broker.ctl("close_all_connections", "--vhost", self.rig.vhost, "for a test")

    async def memory_alarm(self) -> None:
        """The broker takes nothing more for a while."""
        async with self._node:
            await self.rig.chaos_broker.ctl("set_vm_memory_high_watermark", "0.0000001")
            await self._pause()
            await self.rig.chaos_broker.ctl("set_vm_memory_high_watermark", "0.4")

    async def disk_alarm(self) -> None:
        """The same for want of disk space."""
        async with self._node:
            await self.rig.chaos_broker.ctl("set_disk_free_limit", "100000GB")
            await self._pause()
            await self.rig.chaos_broker.ctl("set_disk_free_limit", "50MB")

    async def kill_broker(self) -> None:
        """SIGKILL for the broker, and it starts again."""
        async with self._node:
            await asyncio.to_thread(self.rig.chaos_broker.node.kill)
            await asyncio.sleep(self.dice.uniform(0, 2))
            await asyncio.to_thread(self.rig.chaos_broker.node.start)

    async def cancel(self) -> None:
        """Hundreds of calls that are cancelled, some as soon as they are made, and calls to nowhere."""
        plans = [SLOW] * 200 + [NOWHERE] * 100
        calls = [asyncio.create_task(self.rig.ledger.call(self.client, plan)) for plan in plans]
        await asyncio.sleep(self.dice.choice([0, 0.01, 0.5]))
        for call in calls[:200]:
            call.cancel()
        results: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


FAULTS: tuple[Callable[[Field], Awaitable[None]], ...] = (
    Field.kill_worker, Field.end_worker, Field.freeze_worker, Field.reset_callers, Field.reset_workers, Field.silence,
    Field.silence, Field.delay, Field.hang_up, Field.memory_alarm, Field.disk_alarm, Field.kill_broker,
    Field.cancel,
)  # fmt: skip
