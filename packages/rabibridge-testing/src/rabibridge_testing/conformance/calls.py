"""Client and server on the transport: how calls end."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core.errors import (
    CallTimeoutError,
    ConnectionLostError,
    InvalidArgumentsError,
    NoRouteError,
    RemoteExecutionError,
)
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, longer, service, soon

if TYPE_CHECKING:
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["CallConformance"]


class CallConformance(ConformanceBase):
    """Results, errors, deadlines, cancellation, closing."""

    async def test_a_result(self, bench: Bench) -> None:
        async def add(left: int, right: int = 0) -> int:
            return left + right

        name = bench.name("add")
        await bench.server(service(add, name))
        client = await bench.client()
        assert await client.call(name, (1, 2), {}, CallOptions("async", PATIENCE)) == 3
        assert await client.call(name, (1,), {"right": 4}, CallOptions("any", None)) == 5
        assert client.pending == 0

    async def test_a_sync_function_runs_in_a_thread(self, bench: Bench) -> None:
        def where() -> int:
            return threading.get_ident()

        name = bench.name("where")
        await bench.server(service(where, name))
        client = await bench.client()
        assert await client.call(name, (), {}, CallOptions("sync", PATIENCE)) != threading.get_ident()
        with pytest.raises(NoRouteError):
            await client.call(name, (), {}, CallOptions("async", PATIENCE))

    async def test_what_it_raises(self, bench: Bench) -> None:
        async def fail(text: str) -> None:
            raise LookupError(text)

        name = bench.name("fail")
        await bench.server(service(fail, name))
        client = await bench.client()
        with pytest.raises(RemoteExecutionError) as failure:
            await client.call(name, ("not there",), {}, CallOptions("async", PATIENCE))
        error = failure.value
        assert type(error) is RemoteExecutionError
        assert (error.error_type, error.error_message) == ("builtins.LookupError", "not there")
        assert "LookupError: not there" in error.remote_traceback
        assert "in fail" in error.remote_traceback
        assert error.executed is True
        assert error.func_name == name

    async def test_arguments_that_do_not_fit(self, bench: Bench) -> None:
        ran: list[Any] = []

        async def one(number: int) -> None:
            ran.append(number)

        signature, validated = bench.name("signature"), bench.name("validated")
        await bench.server(service(one, signature), service(_copy(one), validated, validate=True))
        client = await bench.client()
        for name, args in ((signature, (1, 2)), (validated, ("many",))):
            with pytest.raises(InvalidArgumentsError) as refused:
                await client.call(name, args, {}, CallOptions("async", PATIENCE))
            assert refused.value.executed is False
        assert ran == []

    async def test_no_such_service_and_the_client_goes_on(self, bench: Bench) -> None:
        async def here() -> str:
            return "here"

        name = bench.name("here")
        await bench.server(service(here, name))
        client = await bench.client()
        for _ in range(3):
            with pytest.raises(NoRouteError) as refused:
                await client.call(bench.name("nowhere"), (), {}, CallOptions("async", PATIENCE))
            assert refused.value.executed is False
            assert await client.call(name, (), {}, CallOptions("async", PATIENCE)) == "here"
        assert client.pending == 0

    async def test_a_timeout_in_the_queue(self, bench: Bench) -> None:
        ran: list[str] = []

        async def note(what: str) -> None:
            ran.append(what)

        name = bench.name("note")
        server = await bench.server(service(note, name), start=False)
        client = await bench.client()
        with pytest.raises(CallTimeoutError) as late:
            await client.call(name, ("late",), {}, CallOptions("async", 0.2))
        assert late.value.timeout == 0.2
        assert late.value.executed is None
        assert client.pending == 0
        await soon(server.start())
        await client.call(name, ("in time",), {}, CallOptions("async", PATIENCE))
        assert ran == ["in time"]

    async def test_a_timeout_while_it_runs_stops_it(self, bench: Bench) -> None:
        began, stopped = asyncio.Event(), asyncio.Event()

        async def forever() -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

        name = bench.name("forever")
        await bench.server(service(forever, name, fetch_size=1))
        client = await bench.client()
        for _ in range(2):  # the second call shows that the first one has freed its slot
            began.clear()
            stopped.clear()
            for timeout in longer(0.3):
                with pytest.raises(CallTimeoutError):
                    await client.call(name, (), {}, CallOptions("async", timeout))
                if began.is_set():  # it was in time
                    break
            await soon(stopped.wait())
        assert client.pending == 0

    async def test_many_calls_at_once_leave_nothing_pending(self, bench: Bench) -> None:
        async def echo(number: int) -> int:
            return number

        name = bench.name("echo")
        server = await bench.server(service(echo, name))
        client = await bench.client()
        calls = [client.call(name, (number,), {}, CallOptions("async", PATIENCE)) for number in range(1000)]
        assert await soon(asyncio.gather(*calls)) == list(range(1000))
        assert client.pending == 0
        assert client.stray_replies == 0
        assert server.active_requests == 0

    async def test_closing_the_client_ends_its_calls(self, bench: Bench) -> None:
        started = asyncio.Event()

        async def forever() -> None:
            started.set()
            await asyncio.Event().wait()

        name = bench.name("forever")
        await bench.server(service(forever, name), drain_timeout=0)
        client = await bench.client()
        call = asyncio.create_task(client.call(name, (), {}, CallOptions("async", None)))
        await soon(started.wait())
        await soon(client.close())
        with pytest.raises(ConnectionLostError) as lost:
            await soon(call)
        assert lost.value.executed is None
        assert client.pending == 0
        await soon(client.close())
        with pytest.raises(ConnectionLostError) as closed:
            await client.call(name, (), {}, CallOptions("async", None))
        assert closed.value.executed is False

    async def test_a_call_in_a_call(self, bench: Bench) -> None:
        inner, outer = bench.name("inner"), bench.name("outer")
        client = await bench.client()

        async def double(number: int) -> int:
            return 2 * number

        async def through(number: int) -> Any:
            return await client.call(inner, (number,), {}, CallOptions("async", PATIENCE))

        await bench.server(service(double, inner), service(through, outer))
        assert await client.call(outer, (21,), {}, CallOptions("async", PATIENCE)) == 42


def _copy(func: Any) -> Any:
    async def one(number: int) -> Any:
        return await func(number)

    return one
