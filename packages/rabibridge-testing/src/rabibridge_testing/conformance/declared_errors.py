"""Declared errors: a ServiceError that a function raises reaches its caller as the same class, with its fields."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from dataclasses import field
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._codec.codec import Codec
from rabibridge_core.errors import RemoteExecutionError, ServiceError
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon

if TYPE_CHECKING:
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["DeclaredErrorConformance"]

_OPTIONS = CallOptions("any", PATIENCE)


class RefusedError(ServiceError, code="rabibridge_testing.refused"):
    """An error with fields of several types."""

    what: str
    counts: list[tuple[str, int]] = field(default_factory=list)
    raw: bytes | None = None
    more: Any = None


class EmptyError(ServiceError, code="rabibridge_testing.empty"):
    """An error without fields."""


class DeclaredErrorConformance(ConformanceBase):
    """Classes and fields of declared errors, however the call was made."""

    async def test_the_class_and_the_fields_arrive(self, bench: Bench) -> None:
        async def refuse() -> None:
            raise RefusedError("ä\n€", [("a", 1), ("b", -(2**40))], more={"deep": [None, 1.5, {"x": True}]})

        def empty() -> None:
            raise EmptyError

        name, other = bench.name("refuse"), bench.name("empty")
        await bench.server(service(refuse, name, raises=(RefusedError,)), service(empty, other))
        client = await bench.client()
        with pytest.raises(RefusedError) as failure:
            await client.call(name, (), {}, _OPTIONS)
        error = failure.value
        assert error.fields == {
            "what": "ä\n€",
            "counts": [("a", 1), ("b", -(2**40))],
            "raw": None,
            "more": {"deep": [None, 1.5, {"x": True}]},
        }
        assert type(error.counts[0]) is tuple
        assert (error.func_name, error.executed) == (name, True)
        assert error.correlation_id
        assert error.error_type == f"{__name__}.RefusedError"
        assert "in refuse" in error.remote_traceback
        with pytest.raises(EmptyError):
            await client.call(other, (), {}, _OPTIONS)

    @pytest.mark.parametrize("serializer", ["msgpack", "json", "pickle"])
    async def test_every_serializer(self, bench: Bench, serializer: str) -> None:
        codec = Codec(serializer=serializer, signing_key=b"0123456789abcdef")
        raw = None if serializer == "json" else b"\x00\xff"

        async def refuse() -> None:
            raise RefusedError("no", [("a", 1)], raw)

        name = bench.name("refuse")
        await bench.server(service(refuse, name), codec=codec)
        client = await bench.client(codec=codec)
        with pytest.raises(RefusedError) as failure:
            await client.call(name, (), {}, _OPTIONS)
        assert failure.value == RefusedError("no", [("a", 1)], raw)

    async def test_fields_of_16_kib(self, bench: Bench) -> None:
        async def refuse(size: int) -> None:
            raise RefusedError("x" * size)

        name = bench.name("refuse")
        await bench.server(service(refuse, name))
        client = await bench.client()
        with pytest.raises(RefusedError) as failure:
            await client.call(name, (16_300,), {}, _OPTIONS)
        assert failure.value.what == "x" * 16_300
        with pytest.raises(RemoteExecutionError) as too_large:
            await client.call(name, (20_000,), {}, _OPTIONS)
        error = too_large.value
        assert type(error) is RemoteExecutionError
        assert (error.code, error.fields) == (RefusedError.code, {})
        assert error.error_type == f"{__name__}.RefusedError"

    async def test_an_error_that_this_program_does_not_know(self, bench: Bench) -> None:
        def unknown() -> type[ServiceError]:
            class PassingError(ServiceError, code=bench.name("code")):
                sku: str

            return PassingError

        codes: list[str] = []

        async def refuse() -> None:
            cls: Any = unknown()
            codes.append(cls.code)
            error = cls("A-17")
            cls.code += "x"  # what is sent is not the code of a class
            raise error

        name = bench.name("refuse")
        await bench.server(service(refuse, name))
        client = await bench.client()
        with pytest.raises(RemoteExecutionError) as failure:
            await client.call(name, (), {}, _OPTIONS)
        assert type(failure.value) is RemoteExecutionError
        assert failure.value.code == f"{codes[0]}x"
        assert failure.value.fields == {"sku": "A-17"}

    async def test_it_passes_through_a_service_in_between(self, bench: Bench) -> None:
        client = await bench.client()
        inner, outer = bench.name("inner"), bench.name("outer")

        async def refuse() -> None:
            raise RefusedError("no", more=[1, 2])

        async def passes_on() -> Any:
            return await client.call(inner, (), {}, _OPTIONS)

        await bench.server(service(refuse, inner), service(passes_on, outer))
        with pytest.raises(RefusedError) as failure:
            await client.call(outer, (), {}, _OPTIONS)
        assert failure.value == RefusedError("no", more=[1, 2])
        assert failure.value.func_name == outer
        assert "in refuse" in failure.value.remote_traceback

    async def test_the_answer_to_a_second_call_with_a_key_repeats_it(self, bench: Bench) -> None:
        ran: list[None] = []

        async def refuse() -> None:
            ran.append(None)
            raise RefusedError("no", [("a", len(ran))])

        name, options = bench.name("refuse"), CallOptions("any", PATIENCE, idempotency_key="one")
        await bench.server(service(refuse, name))
        client = await bench.client()
        calls = [client.call(name, (), {}, options) for _ in range(3)]
        errors = await soon(asyncio.gather(*calls, return_exceptions=True))
        with pytest.raises(RefusedError) as last:
            await client.call(name, (), {}, options)
        assert [*errors, last.value] == [RefusedError("no", [("a", 1)])] * 4
        assert len(ran) == 1

    async def test_a_client_returns_it_from_try_remote_call(self, bench: Bench) -> None:
        async def refuse() -> None:
            raise EmptyError

        name = bench.name("refuse")
        await bench.server(service(refuse, name))
        client = await bench.rpc_client()
        assert await client.try_remote_call(name, timeout=PATIENCE) == (True, (1, EmptyError()))
