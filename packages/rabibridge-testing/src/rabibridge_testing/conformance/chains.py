"""Call chains: a call that could only wait for its own chain is refused at once, and no other call is."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._observability.call_context import current_call
from rabibridge_core._protocol.headers import CHAIN, CheckedHeaders
from rabibridge_core.errors import DeadlockError, RemoteExecutionError
from rabibridge_core.transport import ControlReceiver
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core._client.client import Client
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["ChainConformance"]

_OPTIONS = CallOptions("async", 10 * PATIENCE)
"""Far longer than a test may take: a call that waits for itself fails the test."""


class _Recursion:
    """A factorial that calls itself through another service, and keeps what was refused."""

    def __init__(self, bench: Bench, client: Client) -> None:
        self.factorial, self.multiply = bench.name("factorial"), bench.name("multiply")
        self.refused: list[DeadlockError] = []
        self.chains: list[object] = []
        self._client = client

    def services(self, fetch_size: int, **limits: Any) -> tuple[ServiceSchema, ServiceSchema]:
        async def factorial(n: int) -> int:
            self.chains.append(current_call().headers.get(CHAIN))
            return 1 if n <= 1 else int(await self.call(self.multiply, n, n - 1))

        async def multiply(n: int, m: int) -> int:
            try:
                return n * int(await self.call(self.factorial, m))
            except DeadlockError as error:
                self.refused.append(error)
                raise

        return service(factorial, self.factorial, fetch_size=fetch_size, **limits), service(multiply, self.multiply)

    async def call(self, name: str, *args: int, options: CallOptions = _OPTIONS) -> Any:
        return await self._client.call(name, args, {}, options)


class ChainConformance(ConformanceBase):
    """A call that could only wait for the calls that wait for it is refused before it is sent."""

    @pytest.fixture
    async def client(self, bench: Bench) -> Client:
        """Provide a client; without control requests, skip the test."""
        client = await bench.client()
        if not isinstance(client.transport, ControlReceiver):
            pytest.skip("the transport receives no control requests")
        return client

    async def test_factorial_of_five_with_two_places_is_refused_at_once(self, bench: Bench, client: Client) -> None:
        recursion = _Recursion(bench, client)
        await bench.server(*recursion.services(fetch_size=2))
        assert await soon(recursion.call(recursion.factorial, 2)) == 2
        with pytest.raises(RemoteExecutionError, match="DeadlockError"):
            await soon(recursion.call(recursion.factorial, 5))
        (error,) = recursion.refused
        factorial, multiply = recursion.factorial, recursion.multiply
        assert error.chain == (factorial, multiply, factorial, multiply, factorial)
        assert " → ".join(error.chain) in str(error)
        assert (error.func_name, error.executed) == (factorial, False)
        assert len(recursion.chains) == 4  # it was not sent
        assert await soon(recursion.call(factorial, 2)) == 2  # all places are free again
        assert client.pending == 0

    async def test_a_place_for_each_level_is_enough(self, bench: Bench, client: Client) -> None:
        recursion = _Recursion(bench, client)
        await bench.server(*recursion.services(fetch_size=5))
        assert await soon(recursion.call(recursion.factorial, 5)) == 120
        assert not recursion.refused
        assert [str(chain or "").count(" ") for chain in recursion.chains] == [0, 1, 3, 5, 7]

    async def test_so_are_as_many_workers(self, bench: Bench, client: Client) -> None:
        recursion = _Recursion(bench, client)
        for _ in range(3):
            await bench.server(*recursion.services(fetch_size=1))
        assert await soon(recursion.call(recursion.factorial, 3)) == 6
        with pytest.raises(RemoteExecutionError):
            await soon(recursion.call(recursion.factorial, 4))
        assert "all 3 places" in str(recursion.refused[0])
        assert "3 workers" in str(recursion.refused[0])

    async def test_a_worker_that_has_joined_or_does_not_answer_makes_waiting_right(
        self, bench: Bench, client: Client
    ) -> None:
        recursion = _Recursion(bench, client)
        await bench.server(*recursion.services(fetch_size=1))
        silent = await bench.server(recursion.services(fetch_size=1)[0], control=False)
        waits = asyncio.ensure_future(recursion.call(recursion.factorial, 3))
        await until(lambda: silent.active_requests)  # the second level runs there, and nobody knows that it does
        await until(lambda: client.pending == 5)
        assert not recursion.refused
        await bench.server(*recursion.services(fetch_size=1))
        assert await soon(waits) == 6

    async def test_a_call_that_waits_for_another_chain_too_is_not_refused(self, bench: Bench, client: Client) -> None:
        name, opened, held = bench.name("outer"), asyncio.Event(), asyncio.Event()

        async def outer(level: int) -> int:
            if level == 9:
                held.set()
                await opened.wait()
                return level
            return level if level == 0 else 1 + int(await client.call(name, (level - 1,), {}, _OPTIONS))

        server = await bench.server(service(outer, name, fetch_size=2))
        other = asyncio.ensure_future(client.call(name, (9,), {}, _OPTIONS))
        await soon(held.wait())
        call = asyncio.ensure_future(client.call(name, (1,), {}, _OPTIONS))
        await until(lambda: server.active_requests == 2 and client.pending == 3)
        opened.set()
        assert [await soon(other), await soon(call)] == [9, 1]

    async def test_a_chain_whose_beginning_has_ended_holds_no_place(self, bench: Bench, client: Client) -> None:
        first, second, results = bench.name("first"), bench.name("second"), asyncio.Queue[Any]()
        began, ended, tasks = asyncio.Event(), asyncio.Event(), set[asyncio.Task[None]]()

        async def call_second() -> None:
            results.put_nowait(await client.call(second, (), {}, CallOptions("async", None, inherit_deadline=False)))

        async def do_first(start: bool) -> str:
            if start:
                tasks.add(asyncio.ensure_future(call_second()))
                await began.wait()
            return "done"

        async def do_second() -> Any:
            began.set()
            await ended.wait()
            return await client.call(first, (False,), {}, _OPTIONS)

        await bench.server(service(do_first, first, fetch_size=1), service(do_second, second, fetch_size=1))
        assert await soon(client.call(first, (True,), {}, _OPTIONS)) == "done"
        ended.set()
        assert await soon(results.get()) == "done"

    async def test_a_notification_is_no_part_of_a_chain(self, bench: Bench, client: Client) -> None:
        name, chains = bench.name(), asyncio.Queue[object]()
        notifier = await bench.rpc_client()

        async def again(left: int) -> int:
            chains.put_nowait(current_call().headers.get(CHAIN))
            if left:
                await notifier.notify(name, left - 1)
            return left

        await bench.server(service(again, name, fetch_size=1))
        assert await soon(client.call(name, (2,), {}, _OPTIONS)) == 2
        assert [await soon(chains.get()) for _ in range(3)] == [None] * 3

    async def test_streams_and_calls_with_progress_are_refused_as_well(self, bench: Bench, client: Client) -> None:
        caller, name, plain = await bench.rpc_client(), bench.name("numbers"), bench.name("plain")

        async def numbers(level: int) -> AsyncIterator[int]:
            yield level
            if level:
                async for number in caller.options(timeout=10 * PATIENCE).stream(name, level - 1):
                    yield number

        async def counted(level: int) -> int:
            view = caller.options(timeout=10 * PATIENCE, on_progress=lambda _: None)
            return level and level + int(await view.call(plain, level - 1))

        await bench.server(service(numbers, name, fetch_size=2), service(counted, plain, fetch_size=2))
        view, found = caller.options(timeout=10 * PATIENCE), list[int]()

        async def read() -> None:
            async for number in view.stream(name, 2):
                found.append(number)

        assert [number async for number in view.stream(name, 1)] == [1, 0]
        assert await soon(view.call(plain, 1)) == 1
        with pytest.raises(RemoteExecutionError, match=f"{name} → {name} → {name} could only wait for itself"):
            await soon(read())
        assert found == [2, 1]
        with pytest.raises(RemoteExecutionError, match=f"{plain} → {plain} → {plain} could only wait for itself"):
            await soon(view.call(plain, 2))

    @pytest.mark.parametrize("criticality", ["interactive", "batch"])
    async def test_it_holds_for_each_class_of_criticality(self, bench: Bench, client: Client, criticality: str) -> None:
        caller, name, refused = await bench.rpc_client(), bench.name(), list[DeadlockError]()

        async def deeper(level: int) -> int:
            try:
                return level and 1 + int(await caller.options(timeout=10 * PATIENCE).call(name, level - 1))
            except DeadlockError as error:
                refused.append(error)
                raise

        await bench.server(service(deeper, name, fetch_size=3, classes={"interactive": None, "batch": None}))
        view = caller.options(timeout=10 * PATIENCE, criticality=criticality)
        assert await soon(view.call(name, 1)) == 1
        with pytest.raises(RemoteExecutionError):
            await soon(view.call(name, 7))
        assert len(refused) == 1

    async def test_a_forged_chain_refuses_nothing(self, bench: Bench, client: Client) -> None:
        outer, inner = bench.name("outer"), bench.name("inner")

        async def do_inner() -> str:
            return "done"

        async def do_outer() -> Any:
            return await client.call(inner, (), {}, _OPTIONS)

        await bench.server(service(do_inner, inner, fetch_size=1), service(do_outer, outer))
        forged: tuple[Any, ...] = (f"{inner}:1:forged.1", f"{inner}:0:x.1", "no chain", "\0" * 5000, 7, b"bytes")
        for chain in forged:
            options = CallOptions("async", 10 * PATIENCE, headers=CheckedHeaders({CHAIN: chain}))
            assert await soon(client.call(outer, (), {}, options)) == "done"
