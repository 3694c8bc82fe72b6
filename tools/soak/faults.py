"""The faults of a soak. Each breaks something, and everything is whole again when it returns."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

from tools.soak.plans import NOWHERE, SLOW

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tools.soak.field import Field

__all__ = ["FAULTS"]


async def _pause(field: Field) -> None:
    await asyncio.sleep(field.dice.uniform(1, 4))


async def kill_worker(field: Field) -> None:
    """SIGKILL, and another one starts."""
    worker = field.take_out()
    worker.kill()
    await field.replace(worker)


async def end_worker(field: Field) -> None:
    """SIGTERM, and another one starts."""
    worker = field.take_out()
    worker.send(signal.SIGTERM)
    await field.replace(worker)
    code = await worker.ended()
    if code != 0:
        raise AssertionError(f"a worker that was told to end did so with {code}: {worker.log.read_text()}")


async def freeze_worker(field: Field) -> None:
    """SIGSTOP for longer than the broker waits for its heartbeats."""
    worker = field.take_out(any_of_them=True)
    worker.send(signal.SIGSTOP)
    await asyncio.sleep(field.dice.uniform(2, 8))
    worker.send(signal.SIGCONT)
    field.rig.workers.append(worker)


async def reset_callers(field: Field) -> None:
    """Reset the TCP connections of half of the callers."""
    for _ in range(field.dice.randint(1, 3)):
        field.dice.choice(field.callers_networks).cut()
        await asyncio.sleep(field.dice.uniform(0, 1.5))


async def reset_workers(field: Field) -> None:
    """TCP resets for some workers."""
    for _ in range(field.dice.randint(1, 3)):
        field.workers_network.cut()
        await asyncio.sleep(field.dice.uniform(0, 1.5))


async def silence(field: Field) -> None:
    """A network on which nothing passes, in one direction or in both."""
    network = field.some_network()
    network.freeze(**field.dice.choice([{}, {"up": False}, {"down": False}]))
    await asyncio.sleep(field.dice.uniform(1, 8))
    network.thaw()


async def delay(field: Field) -> None:
    """A network that takes its time."""
    network = field.some_network()
    network.delay = field.dice.uniform(0.01, 0.1)
    await _pause(field)
    network.delay = 0.0


async def hang_up(field: Field) -> None:
    """The broker closes all connections, as an operator may tell it to."""
    async with field.node:
        await field.rig.chaos_broker.ctl("close_all_connections", "--vhost", field.rig.vhost, "for a test")


async def memory_alarm(field: Field) -> None:
    """The broker takes nothing more for a while."""
    async with field.node:
        await field.rig.chaos_broker.ctl("set_vm_memory_high_watermark", "0.0000001")
        await _pause(field)
        await field.rig.chaos_broker.ctl("set_vm_memory_high_watermark", "0.4")


async def disk_alarm(field: Field) -> None:
    """The same for want of disk space."""
    async with field.node:
        await field.rig.chaos_broker.ctl("set_disk_free_limit", "100000GB")
        await _pause(field)
        await field.rig.chaos_broker.ctl("set_disk_free_limit", "50MB")


async def kill_broker(field: Field) -> None:
    """SIGKILL for the broker, and it starts again."""
    async with field.node:
        await asyncio.to_thread(field.rig.chaos_broker.node.kill)
        await asyncio.sleep(field.dice.uniform(0, 2))
        await asyncio.to_thread(field.rig.chaos_broker.node.start)


async def cancel(field: Field) -> None:
    """Hundreds of calls that are cancelled, some as soon as they are made, and calls to nowhere."""
    client = field.dice.choice(field.clients)
    plans = [SLOW] * 200 + [NOWHERE] * 100
    calls = [asyncio.create_task(field.rig.ledger.call(client, plan)) for plan in plans]
    await asyncio.sleep(field.dice.choice([0, 0.01, 0.5]))
    for call in calls[:200]:
        call.cancel()
    results: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


FAULTS: tuple[Callable[[Field], Awaitable[None]], ...] = (
    kill_worker, end_worker, freeze_worker, reset_callers, reset_workers, silence, silence, delay, hang_up,
    memory_alarm, disk_alarm, kill_broker, cancel,
)  # fmt: skip
