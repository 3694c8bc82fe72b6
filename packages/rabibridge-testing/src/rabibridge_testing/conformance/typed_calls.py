"""The client that programs use: calls by the function itself, and options."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from rabibridge_core._observability.call_context import current_call
from rabibridge_core._services.interface import service as service_class
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.offers import schemas_of
from rabibridge_core._services.registration import register_call
from rabibridge_core.errors import CallTimeoutError, NoRouteError, RemoteExecutionError
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._protocol.naming import FunctionKind
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["TypedCallConformance"]


class TypedCallConformance(ConformanceBase):
    """``client.call``, ``client.options``, ``client.stub`` and ``client.service``."""

    async def test_a_function_says_name_and_kind(self, bench: Bench) -> None:
        @register_call(name=bench.name("add"))
        async def add(left: int, right: int = 0) -> int:
            return left + right

        @register_call(name=bench.name("join"))
        def join(*parts: str, end: str = "") -> str:
            return "".join(parts) + end

        await bench.server(_schema(add), _schema(join))
        client = await bench.rpc_client()
        async with asyncio.timeout(PATIENCE):
            assert await client.call(add, 1, 2) == 3
            assert await client.call(add, 1, right=4) == 5
            assert await client.call(join, "a", "b", end="!") == "ab!"
        assert client.pending == 0

    async def test_a_name_or_a_signature_reaches_both_kinds(self, bench: Bench) -> None:
        names = bench.name("async"), bench.name("sync")

        async def coroutine(number: int) -> int:
            return number

        def function(number: int) -> int:
            return -number

        await bench.server(service(coroutine, names[0]), service(function, names[1]))
        client = await bench.rpc_client()
        for name, expected in zip(names, (7, -7), strict=True):

            async def signature(number: int) -> int:
                raise NotImplementedError

            signature.__name__ = name
            assert await soon(client.call(name, 7)) == expected
            assert await soon(client.call(signature, 7)) == expected
            wrong: FunctionKind = "sync" if expected == 7 else "async"
            with pytest.raises(NoRouteError):
                await soon(client.options(kind=wrong).call(name, 7))

    async def test_every_argument_belongs_to_the_function(self, bench: Bench) -> None:
        name = bench.name()

        async def echo(**given: Any) -> dict[str, Any]:
            return given

        await bench.server(service(echo, name))
        client = await bench.rpc_client()
        given = {
            word: word
            for word in ("timeout", "headers", "retry", "kind", "self", "func", "name", "args", "kwargs", "options")
        }
        assert await soon(client.call(name, **given)) == given

    async def test_options_hold_for_each_call_of_a_view(self, bench: Bench) -> None:
        name, slow = bench.name(), bench.name("slow")

        async def seen() -> list[Any]:
            call = current_call()
            return [dict(call.headers or {}).get("tenant"), call.time_left is not None and call.time_left <= 20]

        async def forever() -> None:
            await asyncio.Event().wait()

        await bench.server(service(seen, name), service(forever, slow))
        client = await bench.rpc_client()
        view = client.options(timeout=20, headers={"tenant": "a"})
        assert await soon(view.call(name)) == ["a", True]
        assert await soon(view.options(headers={"other": 1}).call(name)) == ["a", True]
        assert await soon(view.remote_call(name)) == ["a", True]
        assert await soon(client.options(timeout=None).call(name)) == [None, False]  # an hour
        with pytest.raises(CallTimeoutError) as late:
            await soon(view.options(timeout=0.2).call(slow))
        assert late.value.timeout == 0.2

    async def test_a_stub_calls_with_its_options_and_restores_results(self, bench: Bench) -> None:
        @register_call(name=bench.name("swap"))
        async def swap(left: int, right: int) -> tuple[int, int]:
            return right, left

        await bench.server(_schema(swap))
        client = await bench.rpc_client()
        stub = client.stub(swap, timeout=PATIENCE, idempotent=True)
        assert await soon(stub(1, right=2)) == (2, 1)
        assert await soon(client.call(stub, 1, 2)) == (2, 1)
        assert await soon(client.stub(swap, validate=False)(1, 2)) in ((2, 1), [2, 1])  # msgpack and json have lists
        with pytest.raises(CallTimeoutError):
            await soon(stub.options(timeout=1e-9)(1, 2))

    async def test_the_methods_of_an_object_are_services(self, bench: Bench) -> None:
        name = bench.name("math")

        @service_class(name=name)
        class Math:
            def __init__(self, start: int) -> None:
                self.start = start

            async def add(self, number: int) -> int:
                return self.start + number

            def both(self, number: int) -> tuple[int, int]:
                return self.start, number

        class Newer(Math):
            async def add(self, number: int) -> int:
                return self.start - number

        class Interface(Protocol):
            async def add(self, number: int) -> int: ...

            async def both(self, number: int) -> tuple[int, int]: ...

        await bench.server(*schemas_of(Math(10), ServiceLimits()))
        await bench.server(*schemas_of(Newer(10), ServiceLimits(), f"{name}.v2"))
        client = await bench.rpc_client()
        math, other = client.service(Math, timeout=PATIENCE), client.service(Interface, name=name, version=2)
        assert await soon(math.add(1)) == 11
        assert await soon(other.add(1)) == 9
        assert await soon(client.call(math.both, 1)) == await soon(other.both(1)) == (10, 1)
        assert await soon(client.call(f"{name}.add", 1)) == await soon(client.call(Math(0).add, 1)) == 11
        with pytest.raises(NoRouteError):
            await soon(client.service(Interface, name=name, version=3).add(1))

    async def test_a_failure_is_the_same_as_that_of_a_remote_call(self, bench: Bench) -> None:
        @register_call(name=bench.name("fail"))
        async def fail(text: str) -> None:
            raise LookupError(text)

        await bench.server(_schema(fail))
        client = await bench.rpc_client()
        with pytest.raises(RemoteExecutionError, match="not there"):
            await soon(client.call(fail, "not there"))
        through, (code, error) = await soon(client.options(timeout=PATIENCE).try_remote_call(bench.name("nowhere")))
        assert (through, code) == (False, 1)
        assert isinstance(error, NoRouteError)


def _schema(function: Callable[..., Any]) -> ServiceSchema:
    return schemas_of(function, ServiceLimits())[0]
