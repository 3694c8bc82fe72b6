"""A broker in memory and a real one with the same clients and workers, which must show the same after every step."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from rabibridge._amqp.control_methods import CHANNEL_CLOSE_OK, method_frames
from rabibridge._amqp.methods import CHANNEL_CLOSE
from rabibridge.settings import RABBITMQ
from rabibridge_core._protocol.naming import queue_name
from rabibridge_core.errors import ConnectionLostError
from rabibridge_testing import MemoryBroker
from tests.differential.channels import channels_of, close_channels, delete_replies
from tests.differential.world import World
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge_testing import MemoryTransport
    from tests.differential.outside import Outside
    from tests.differential.world import Limits

__all__ = ["CONNECTIONS", "DifferenceError", "Pair"]

CONNECTIONS = ("client 0", "client 1", "worker 0", "worker 1")
_CLOSED = "the broker closed channel 1"
_REPLIES_DELETED = "the reply queue was deleted on the broker"
_EQUAL = 2
"""So many looks in a row must find no difference."""
_TURNS = 30
"""After so many turns of the event loop, nothing happens in memory any more."""


class DifferenceError(AssertionError):
    """What one of both shows is not what the other one shows."""


class Pair:
    """Both worlds.

    Attributes:
        fake, real: the worlds.
        broker: the broker in memory.
        outside: the real one.
        alarm: whether both accept no messages.
        keys: the idempotency keys that were used, each with the number of the client.
        stale_keys: those whose client was cut: when they are free depends on when the worker knows that it is gone.
        limits: those of the services.
        number: how many calls were made.
        away: who is kept from connecting again.
    """

    def __init__(self, outside: Outside, limits: Limits, patience: float) -> None:
        """Compare with the broker ``outside``; worlds that differ for ``patience`` seconds are different."""
        self.outside, self.limits, self.patience = outside, limits, patience
        self.url = outside.url
        self.broker = MemoryBroker()
        self.number = 0
        self.alarm = False
        self.away = ""
        self.keys: list[tuple[str, int]] = []
        self.stale_keys: set[str | None] = set()
        name = f"work_{secrets.token_hex(6)}"
        self.fake = World(name, self._in_memory, limits)
        self.queues = {queue_name(one, is_async=True): one[len(name) :] for one in (name, f"{name}_feed")}
        self.real = World(name, lambda connection: {"url": self._proxies[connection].url}, limits)
        self._proxies: dict[str, Proxy] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for name in CONNECTIONS:
            self._proxies[name] = await self._stack.enter_async_context(Proxy(self.url))
        await self.both(lambda world: world.begin_worker(0, self.limits))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.set_alarm(on=False)
        for world in (self.fake, self.real):
            await world.close()
        await self._stack.aclose()

    def _in_memory(self, name: str) -> dict[str, Any]:
        transport = self.broker.transport(name)
        if self.url.startswith("amqp"):
            transport.refusals = RABBITMQ.refusals()
        return {"transport": transport}

    async def both(self, do: Callable[[World], Awaitable[None] | None]) -> None:
        """Do something in both worlds, and wait until they show the same."""
        for world in (self.fake, self.real):
            done = do(world)
            if done is not None:
                await done
            if world is self.fake:
                await self._settle()
        await self.compare()

    def cut(self, name: str) -> None:
        """Cut a connection, which comes back."""
        if name.startswith("client"):
            self._forget_keys(name)
        if any(transport.name == name for transport in self.broker.transports):
            self._proxies[name].cut()
            self._transport(name).abort()

    async def cut_off(self, name: str) -> None:
        """Cut the connection of a worker, and compare before and after it comes back: another one takes its calls."""
        transport, proxy = self._transport(name), self._proxies[name]
        self.away = name
        proxy.freeze(down=False)  # nothing that it sends arrives: it does not get another connection
        proxy.cut()
        transport.abort(restore=False)
        try:
            await self.compare()
        finally:
            self.away = ""
            proxy.thaw()
            transport.restore_soon()
        await self.compare()

    async def lose_channel(self, name: str, service: str, *, late: bool = False) -> None:
        """Have both brokers close the channel of a client, or that of a worker for the service ``work`` or ``feed``.

        Args:
            name: who loses it.
            service: which one of a worker.
            late: because requests were not acknowledged in time; without effect where all are.
        """
        fake, real = self._service(self.fake, service), self._service(self.real, service)
        channels = channels_of(self.real, name, real)
        if not channels:
            return
        transport = self._transport(name)
        if name.startswith("client"):
            self._forget_keys(name)
            transport.abort(reason=_CLOSED)
        elif not late or any(one.unsettled for one in transport._consumers if one.queue.service == fake):
            transport.lose_channels(fake, ConnectionLostError(_CLOSED))
        if late:
            port = self._proxies[name].link.up.get_extra_info("sockname")[1]
            await self.outside.look_for_acknowledgements(port, [channel.number for channel in channels])
        else:
            close_channels(channels)

    async def lose_channel_for_long(self, name: str, service: str, *, late: bool = False) -> None:
        """Have both close a channel of a worker, and compare before and after it can open another one.

        A quorum queue gets back what was delivered there when the worker has confirmed that the channel is closed.
        """
        transport, proxy = self._transport(name), self._proxies[name]
        waiting: list[Any] = []
        resume = transport._resume
        transport._resume = waiting.append  # type: ignore[method-assign,assignment]

        def closed(confirmation: bytes) -> None:
            proxy.freeze(down=False)
            proxy.replaced[confirmation] = b""  # what the worker sends later
            proxy.link.up.write(confirmation)

        for channel in channels_of(self.real, name, self._service(self.real, service)):
            confirmation = method_frames(channel.number, [CHANNEL_CLOSE_OK])
            proxy.when_received.append((CHANNEL_CLOSE, partial(closed, confirmation)))
        try:
            await self.lose_channel(name, service, late=late)
            await self.compare()
        finally:
            transport._resume = resume  # type: ignore[method-assign]
            proxy.when_received.clear()
            proxy.thaw()
            for consumer in waiting:
                transport._resume(consumer)
        await self.compare()
        proxy.replaced.clear()

    def lose_replies(self, name: str) -> None:
        """Delete the reply queue of a client."""
        self._forget_keys(name)
        if delete_replies(self.real, name):
            self._transport(name).abort(reason=_REPLIES_DELETED)

    @staticmethod
    def _service(world: World, service: str) -> str:
        return world.service + ("" if service == "work" else "_feed")

    def _transport(self, name: str) -> MemoryTransport:
        return next(transport for transport in self.broker.transports if transport.name == name)

    def _forget_keys(self, client: str) -> None:
        self.stale_keys |= {key for key, number in self.keys if f"client {number}" == client}

    async def set_alarm(self, *, on: bool) -> None:
        """Let both brokers accept no messages, or accept them again."""
        if on == self.alarm:
            return
        self.alarm = on
        (self.broker.block if on else self.broker.unblock)()
        await self.outside.alarm(on=on)

    async def delete(self, which: int) -> None:
        """Delete a queue with what waits there."""
        queue = list(self.queues)[which % len(self.queues)]
        self.broker.delete_queue(queue)
        await self.outside.delete(queue)

    async def compare(self) -> None:
        """Wait until both worlds show the same.

        Raises:
            DifferenceError: they do not.
        """
        await self._settle()
        loop = asyncio.get_running_loop()
        ends, equal, pause = loop.time() + self.patience, 0, 0.002
        while equal < _EQUAL:
            await asyncio.sleep(pause)
            pause = min(0.05, pause * 1.3)
            same, waiting = self._ready() and self.fake.view() == self.real.view(), ""
            if same and equal == _EQUAL - 1:
                waiting = await self._waiting_differently()
                same = not waiting and self._ready() and self.fake.view() == self.real.view()
            equal = equal + 1 if same else 0
            if not equal and loop.time() > ends:
                raise DifferenceError(waiting or self._differences())

    @staticmethod
    async def _settle() -> None:
        """Let the broker in memory come to where it ends up: the other one must come there, not pass by."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def _ready(self) -> bool:
        for world in (self.fake, self.real):
            world.reap()
        full = self.limits.queue_size is not None and any(
            len(queue) >= self.limits.queue_size
            for queue in self.broker.queues.values()
            if queue.service == self.fake.service
        )
        return all(world.ready(confirmed=not self.alarm, full=full, away=self.away) for world in (self.fake, self.real))

    async def _waiting_differently(self) -> str:
        """Return which queues do not hold as many calls on both, in words."""
        real = await self.outside.waiting(self.queues)
        fake = {name: len(queue) for name, queue in self.broker.queues.items() if name in self.queues}
        return "; ".join(
            f"waiting in work{service}: {fake.get(name)} on the fake, {real.get(name)} on {self.url.partition(':')[0]}"
            for name, service in self.queues.items()
            if fake.get(name) != real.get(name)
        )

    def _differences(self) -> str:
        fake, real = (
            {(what, key): value for what, values in world.view().items() for key, value in values.items()}
            for world in (self.fake, self.real)
        )
        differ = [
            f"{what} {key}: {fake.get((what, key))!r} on the fake, {real.get((what, key))!r} on "
            f"{self.url.partition(':')[0]}"
            for what, key in {**fake, **real}
            if fake.get((what, key)) != real.get((what, key))
        ]
        return "; ".join(differ) or "one of them does not connect again"
