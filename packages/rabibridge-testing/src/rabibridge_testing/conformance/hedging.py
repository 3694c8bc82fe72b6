"""Client and server on the transport: calls of which a second copy is sent while the first has no answer."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._client.hedge import Hedge
from rabibridge_core._observability.call_context import current_call
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import ConformanceBase, service, soon, until

if TYPE_CHECKING:
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["HedgingConformance"]

_SOON = Hedge(after=0.01)


class _OneStands:
    """A service whose first call stands still until it is cancelled; later ones answer at once."""

    def __init__(self) -> None:
        self.ran_on: list[str] = []
        self.redelivered: list[bool] = []
        self.cancelled = asyncio.Event()

    def service(self, name: str, where: str) -> ServiceSchema:
        async def work() -> str:
            self.ran_on.append(where)
            self.redelivered.append(current_call().redelivered)
            if len(self.ran_on) == 1:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.cancelled.set()
                    raise
            return where

        return service(work, name)


class HedgingConformance(ConformanceBase):
    """``client.options(hedge=...)``."""

    async def test_the_other_worker_answers_and_the_first_copy_is_cancelled(self, bench: Bench) -> None:
        name, standing = bench.name(), _OneStands()
        for where in ("left", "right"):
            await bench.server(standing.service(name, where))
        client = await bench.rpc_client()
        answer = await soon(client.options(hedge=_SOON, idempotent=True).call(name))
        assert standing.ran_on == [next(each for each in ("left", "right") if each != answer), answer]
        assert standing.redelivered == [False, True]
        await soon(standing.cancelled.wait())
        await until(lambda: client.pending == 0)
        assert client._client.preparation.hedges.won == 1

    async def test_a_worker_declines_what_it_runs_already_and_another_one_takes_it(self, bench: Bench) -> None:
        name, runs = bench.name(), dict[int, list[str]]()

        def of(where: str) -> ServiceSchema:
            async def work(number: int) -> str:
                ran_on = runs.setdefault(number, [])
                ran_on.append(where)
                if number and len(ran_on) == 1:
                    await asyncio.Event().wait()
                return where

            return service(work, name)

        for where in ("left", "right"):
            await bench.server(of(where))
        client = await bench.rpc_client()
        view = client.options(hedge=Hedge(after=0.2), idempotent=True)
        call = asyncio.ensure_future(view.call(name, 1))
        await until(lambda: 1 in runs)
        await soon(client.call(name, 0))  # where workers take turns, the second copy comes to that of the first
        assert await soon(call) == runs[1][1] != runs[1][0]

    async def test_with_one_worker_it_runs_once(self, bench: Bench) -> None:
        name, gate = bench.name(), Gate()
        await bench.server(gate.service(name, "here"))
        client = await bench.rpc_client()
        call = asyncio.ensure_future(client.options(hedge=_SOON, idempotent=True).call(name))
        await soon(gate.started.get())
        await until(lambda: client._client.preparation.hedges.sent == 1)
        await until(lambda: client.pending == 1)  # the second copy was declined, as often as it was sent
        gate.opened.set()
        assert await soon(call) == "here"
        assert gate.started.empty()
        assert client.pending == 0

    async def test_the_caller_gives_up_and_both_copies_are_cancelled(self, bench: Bench) -> None:
        name, gates = bench.name(), [Gate(), Gate()]
        for number, gate in enumerate(gates):
            await bench.server(gate.service(name, str(number)))
        client = await bench.rpc_client()
        call = asyncio.ensure_future(client.options(hedge=_SOON, idempotent=True).call(name))
        for gate in gates:
            await soon(gate.started.get())
        call.cancel()
        for gate in gates:
            await soon(gate.ended.get())
        assert client.pending == 0

    async def test_a_service_that_says_that_it_is_idempotent(self, bench: Bench) -> None:
        name, gates = bench.name(), [Gate(), Gate()]
        for number, gate in enumerate(gates):
            await bench.server(gate.service(name, str(number), idempotent=True))
        client = await bench.rpc_client()
        view = client.options(hedge=_SOON)
        for gate in gates:
            gate.opened.set()
        await soon(view.call(name))  # its reply says so
        started = sum(gate.started.qsize() for gate in gates)
        for gate in gates:
            gate.opened.clear()
        call = asyncio.ensure_future(view.call(name))
        await until(lambda: sum(gate.started.qsize() for gate in gates) == started + 2)
        for gate in gates:
            gate.opened.set()
        assert await soon(call) in {"0", "1"}

    async def test_map_hedges_its_calls(self, bench: Bench) -> None:
        name, standing = bench.name(), _OneStands()

        def of(where: str) -> ServiceSchema:
            async def work(number: int) -> int:
                standing.ran_on.append(where)
                if len(standing.ran_on) == 1:
                    await asyncio.Event().wait()
                return number

            return service(work, name)

        for where in ("left", "right"):
            await bench.server(of(where))
        client = await bench.rpc_client()
        view = client.options(hedge=Hedge(after=0.01, ratio=1.0), idempotent=True)  # slow machines send one of each

        async def every() -> list[int]:
            return [result async for result in view.map(name, range(5))]

        assert await soon(every()) == list(range(5))
        assert client._client.preparation.hedges.won >= 1
