"""Values of every type that travels, as arguments and as results, by each serializer."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import datetime
import enum
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._codec.codec import Codec
from rabibridge_core.errors import InvalidArgumentsError, RemoteExecutionError, SerializationError
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_testing.conformance.harness import Bench

__all__ = ["ValueConformance"]

_OPTIONS = CallOptions("any", PATIENCE)
_NOON = datetime.datetime(2024, 5, 17, 12, 30, 15, 123456)
_EAST = datetime.timezone(datetime.timedelta(hours=2))


class _Colour(enum.Enum):
    RED = "red"


@dataclass
class _Item:
    price: Decimal


class _Point(NamedTuple):
    x: int
    y: int


_AS_SENT: list[Any] = [
    None, True, 0, -1, 2**63 - 1, 2**64, -(2**70), 1.5, -0.0, 5e-324, 1 + 2j, "", "ä\n€\0😀", b"", bytes(range(256)),
    _NOON, _NOON.replace(tzinfo=datetime.UTC), _NOON.date(), datetime.time(12, 30), datetime.time(1, tzinfo=_EAST),
    datetime.timedelta(days=-1, microseconds=1), uuid.UUID(int=1), Decimal("1.50"), Decimal("-0"), Decimal("Infinity"),
    [], [[], [1, ["a"]]], {}, {"a": {"": [None]}}, set(), {"a"}, frozenset({1}), {(1, 2)},
    "x" * 100_000, [0] * 10_000,
]  # fmt: skip
"""What arrives as it was sent, without any annotation."""

_RESTORED: list[tuple[Any, Any, Any]] = [
    # what is sent, what arrives without an annotation, and the annotation that restores it
    ((1, 2), [1, 2], tuple[int, int]),
    (_Point(1, 2), [1, 2], _Point),
    (_Colour.RED, "red", _Colour),
    (_Item(Decimal("1.50")), {"price": Decimal("1.50")}, _Item),
    ([_Item(Decimal(1))], [{"price": Decimal(1)}], list[_Item]),
    ({"a": (_Colour.RED, 1)}, {"a": ["red", 1]}, dict[str, tuple[_Colour, int]]),
]


class ValueConformance(ConformanceBase):
    """Values are the same whatever carries them: no transport looks at them, or changes a byte."""

    @pytest.mark.parametrize("serializer", ["msgpack", "json"])
    async def test_what_arrives_as_it_was_sent(self, bench: Bench, serializer: str) -> None:
        seen: list[Any] = []

        async def echo(value: Any, *, again: Any = None) -> list[Any]:
            seen.append((value, again))
            return [again, value]

        name, codec = bench.name("echo"), Codec(serializer=serializer)
        await bench.server(service(echo, name), codec=codec)
        client = await bench.client(codec=codec)
        for value in _AS_SENT:
            result = await client.call(name, (value,), {"again": value}, _OPTIONS)
            assert _same(seen.pop(), (value, value))
            assert _same(result, [value, value])

    @pytest.mark.parametrize("serializer", ["msgpack", "json"])
    async def test_what_annotations_restore(self, bench: Bench, serializer: str) -> None:
        codec = Codec(serializer=serializer)
        client = await bench.client(codec=codec)
        seen: list[Any] = []

        def echoes(annotation: Any) -> Callable[..., Any]:
            async def echo(value: Any) -> Any:
                seen.append(value)
                return value

            echo.__annotations__ = {"value": annotation, "return": annotation}
            return echo

        for value, plain, annotation in _RESTORED:
            typed, untyped = bench.name("typed"), bench.name("untyped")
            await bench.server(
                service(echoes(annotation), typed, validate=True), service(echoes(Any), untyped), codec=codec
            )
            assert _same(await client.call(untyped, (value,), {}, _OPTIONS), plain)
            assert _same(seen.pop(), plain)
            assert _same(await client.call(typed, (value,), {}, _OPTIONS), plain)  # only a typed call restores a result
            assert _same(seen.pop(), value)
            with pytest.raises(InvalidArgumentsError):
                await client.call(typed, ("nothing of the kind",), {}, _OPTIONS)
            assert seen == []

    async def test_a_typed_call_restores_the_result(self, bench: Bench) -> None:
        async def swapped(point: _Point) -> _Point:
            return _Point(point.y, point.x)

        name = bench.name("swapped")
        await bench.server(service(swapped, name, validate=True))
        client = await bench.rpc_client()
        assert _same(await client.stub(swapped, timeout=PATIENCE)(_Point(1, 2)), _Point(2, 1))
        assert await client.stub(name, timeout=PATIENCE)(_Point(1, 2)) == [2, 1]

    @pytest.mark.parametrize("serializer", ["msgpack", "json"])
    async def test_what_cannot_travel_is_named(self, bench: Bench, serializer: str) -> None:
        ran: list[Any] = []

        async def give(value: Any = None) -> Any:
            ran.append(value)
            return {"items": [1, {"price": object()}]}

        name, codec = bench.name("give"), Codec(serializer=serializer)
        await bench.server(service(give, name), codec=codec)
        client = await bench.client(codec=codec)
        with pytest.raises(SerializationError, match=r"args\[0\]\.items\[1\]: "):
            await client.call(name, ({"items": [1, object()]},), {}, _OPTIONS)
        assert (ran, client.pending) == ([], 0)
        with pytest.raises(RemoteExecutionError, match=r"result\.items\[1\]\.price: "):
            await client.call(name, (), {}, _OPTIONS)
        assert ran == [None]


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of the same type, in all their parts."""
    return repr(one) == repr(other) and type(one) is type(other)
