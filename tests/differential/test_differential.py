"""The broker in memory and RabbitMQ do the same: both are driven through the same random sequences of operations.

After each operation, both must come to show the same: the outcome of every call with its fields and text, how often
each call has run, what runs now, and who is healthy. At the end, whatever waits is run, and compared. The sequences
that ``make differential`` tries are more, and other ones each time.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from rabibridge.settings import RABBITMQ
from rabibridge_testing import MemoryBroker
from tests.differential.world import Limits, World
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


SEQUENCES = int(os.environ.get("DIFFERENTIAL_SEQUENCES", "0"))
pytestmark = [
    pytest.mark.rabbitmq,
    pytest.mark.skipif(not SEQUENCES, reason="takes an hour: make differential"),
]
_PATIENCE = 60.0
_WORKERS = st.integers(0, 1)
_CLIENTS = st.integers(0, 1)


class Both(RuleBasedStateMachine):
    """Both worlds."""

    url = ""
    runner: asyncio.Runner

    @initialize(
        limits=st.builds(
            Limits,
            queue_size=st.sampled_from([None, 1, 2]),
            fetch_size=st.integers(1, 2),
            delivery=st.sampled_from(["at-least-once", "at-least-once", "at-most-once"]),
            idempotent=st.booleans(),
            queue_type=st.sampled_from(["classic", "classic", "quorum"]),
        )
    )
    def begin(self, limits: Limits) -> None:
        """Start a worker in each world."""
        if limits.idempotent and limits.delivery == "at-most-once":
            limits = replace(limits, delivery="at-least-once")
        if limits.queue_type == "quorum":
            limits = replace(limits, queue_size=None)  # its bound is not exact on RabbitMQ
        self.limits, self.numbers = limits, itertools.count(1)
        self.runner.run(self._begin())
        self.both(lambda world: world.begin_worker(0, limits))

    async def _begin(self) -> None:
        self.proxies: dict[str, Proxy] = {}
        for name in ("client 0", "client 1", "worker 0", "worker 1"):
            self.proxies[name] = await Proxy(self.url).__aenter__()
        self.broker = MemoryBroker()
        name = f"work_{secrets.token_hex(6)}"
        self.fake = World(name, self._in_memory)
        self.real = World(name, lambda name: {"url": self.proxies[name].url})

    def _in_memory(self, name: str) -> dict[str, Any]:
        transport = self.broker.transport(name)
        transport.refusals = RABBITMQ.refusals()
        return {"transport": transport}

    def both(self, do: Callable[[World], Awaitable[None] | None]) -> None:
        """Do something in both worlds, and wait until they show the same."""
        self.runner.run(self._both(do))

    async def _both(self, do: Callable[[World], Awaitable[None] | None]) -> None:
        for world in (self.fake, self.real):
            done = do(world)
            if done is not None:
                await done
        await self.compare()

    async def compare(self) -> None:
        """Wait until both worlds show the same, for a moment at least."""
        loop = asyncio.get_running_loop()
        ends, same = loop.time() + _PATIENCE, 0
        while same < 3:
            await asyncio.sleep(0.004)
            equal = self.fake.ready and self.real.ready and self.fake.view() == self.real.view()
            same = same + 1 if equal else 0
            if loop.time() > ends:
                fake, real = self.fake.view(), self.real.view()
                differ = [
                    f"{what}: {fake[what]!r} on the fake, {real[what]!r} on RabbitMQ"
                    for what in fake
                    if fake[what] != real[what]
                ]
                raise AssertionError("; ".join(differ) or "one of them does not connect again")

    @rule(client=_CLIENTS, kind=st.sampled_from(["any", "async", "sync"]), persistent=st.sampled_from([None, True]))
    def call(self, client: int, kind: Any, persistent: Any) -> None:
        """Call the service."""
        number, options = next(self.numbers), {"kind": kind, "persistent": persistent}
        self.both(lambda world: world.call(number, client, options))

    @rule(client=_CLIENTS, key=st.sampled_from([None, "one", "two"]))
    def idempotent_call(self, client: int, key: str | None) -> None:
        """Call the service, idempotently, with a key that others may have."""
        number, options = next(self.numbers), {"idempotent": True, "idempotency_key": key}
        self.both(lambda world: world.call(number, client, options))

    @rule(client=_CLIENTS)
    def notify(self, client: int) -> None:
        """Notify the service."""
        number = next(self.numbers)
        self.both(lambda world: world.notify(number, client))

    @precondition(lambda self: self.fake.running)
    @rule(data=st.data(), end=st.sampled_from(["return", "return", "fail"]))
    def release(self, data: st.DataObject, end: str) -> None:
        """Let one call end."""
        call = data.draw(st.sampled_from(sorted(set(self.fake.running))))
        self.both(lambda world: world.release(call, end))

    @precondition(lambda self: any(not call.done() for call in self.fake.calls.values()))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Cancel one call."""
        call = data.draw(st.sampled_from([number for number, one in self.fake.calls.items() if not one.done()]))
        self.both(lambda world: world.cancel(call))

    @rule(number=_WORKERS)
    def worker(self, number: int) -> None:
        """Start a worker that does not run, or stop one that does."""
        if number in self.fake.workers:
            if self.limits.fetch_size > 1 and self.fake.workers[number].runs:
                return  # it would give back several calls, in any order
            self.both(lambda world: world.end_worker(number))
        else:
            self.both(lambda world: world.begin_worker(number, self.limits))

    @precondition(lambda self: 1 not in self.fake.workers)
    @rule()
    def worker_with_other_limits(self) -> None:
        """Start a worker that the broker refuses."""
        other = Limits(7, 1, self.limits.delivery, self.limits.idempotent, self.limits.queue_type)
        self.both(lambda world: world.begin_worker(1, other))

    @rule(who=st.sampled_from(["client 0", "client 1", "worker 0", "worker 1"]))
    def cut(self, who: str) -> None:
        """Cut a connection, which comes back."""
        for transport in self.broker.transports:
            if transport.name == who:
                self.proxies[who].cut()
                transport.abort()
                self.runner.run(self.compare())
                break

    def teardown(self) -> None:
        """Run what is left, and compare what remains."""
        if not hasattr(self, "fake"):
            return
        try:
            self.runner.run(self._finish())
        finally:
            self.runner.run(self._end())

    async def _finish(self) -> None:
        if 0 not in self.fake.workers:
            await self._both(lambda world: world.begin_worker(0, self.limits))
        for _ in range(200):
            running = self.fake.running
            if not running:
                break
            await self._both(lambda world, call=running[0]: world.release(call, "return"))  # type: ignore[misc]

    async def _end(self) -> None:
        for world in (self.fake, self.real):
            await world.close()
        for proxy in self.proxies.values():
            await proxy.__aexit__(None, None, None)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_fake_does_as_rabbitmq_does(amqp_url: str) -> None:
    with asyncio.Runner() as runner:
        machine = type("TestBoth", (Both,), {"url": amqp_url, "runner": runner})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=SEQUENCES,
                stateful_step_count=15,
                deadline=None,
                derandomize=SEQUENCES == 20,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
                phases=(Phase.generate, Phase.shrink),
                print_blob=True,
            ),
        )
