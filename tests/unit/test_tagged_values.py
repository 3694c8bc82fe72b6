"""Values that neither MessagePack nor JSON has: they arrive as sent, or their sender gets a SerializationError."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core._codec.codec import Codec
from rabibridge_core._codec.msgpack_serializer import AnyKeysMsgpackSerializer
from rabibridge_core._codec.serializers import JsonSerializer, MsgpackSerializer
from rabibridge_core.errors import SerializationError

SERIALIZERS = pytest.mark.parametrize(
    "serializer",
    [MsgpackSerializer(), AnyKeysMsgpackSerializer(), JsonSerializer()],
    ids=["msgpack", "any keys", "json"],
)
EAST = datetime.timezone(datetime.timedelta(hours=5, minutes=30))


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Odd(enum.Enum):
    DAY = datetime.date(2024, 5, 17)
    BIG = 2**70
    BYTES = b"odd"
    PAIR = (1, 2)


class Pair(NamedTuple):
    left: int
    right: Any


@dataclasses.dataclass
class Item:
    price: Any
    total: int = dataclasses.field(init=False, default=3)


@dataclasses.dataclass(frozen=True)
class Frozen:
    value: int


class Model(pydantic.BaseModel):
    number: int = pydantic.Field(alias="theNumber")
    day: datetime.date = datetime.date(2024, 5, 17)
    secret: str = pydantic.Field(default="s", exclude=True)


@pydantic.dataclasses.dataclass
class Checked:
    number: int


class Moment(datetime.datetime): ...


hashable = st.recursive(
    st.none()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.datetimes()
    | st.datetimes(timezones=st.just(datetime.UTC))
    | st.dates()
    | st.times()
    | st.times(timezones=st.just(EAST))
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.complex_numbers(allow_nan=False, allow_infinity=False),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
values = st.recursive(
    hashable | st.sets(hashable, max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def as_read(value: Any) -> Any:
    """Return the value as it arrives: tuples as lists, except in sets."""
    if isinstance(value, dict):
        return {key: as_read(item) for key, item in value.items()}
    return [as_read(item) for item in value] if isinstance(value, list | tuple) else value


def types_in(value: Any) -> Any:
    """Return the types of a value and of all in it."""
    if isinstance(value, dict):
        return dict, sorted((key, types_in(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return type(value), [types_in(item) for item in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted(str(types_in(item)) for item in value)
    return type(value).__name__


@SERIALIZERS
@given(value=values)
def test_values_arrive_as_sent(serializer: Any, value: object) -> None:
    read = serializer.loads(serializer.dumps(value))
    assert read == as_read(value)
    assert types_in(read) == types_in(as_read(value))


@SERIALIZERS
@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (datetime.datetime(2024, 5, 17, 12, tzinfo=EAST), datetime.datetime(2024, 5, 17, 6, 30, tzinfo=datetime.UTC)),
        (Moment(2024, 5, 17), datetime.datetime(2024, 5, 17)),
        (Decimal("1.50"), Decimal("1.50")),
        (Decimal("-Infinity"), Decimal("-Infinity")),
        (bytearray(b"bytes"), b"bytes"),
        (memoryview(b"bytes"), b"bytes"),
        (Colour.RED, "red"),
        (Level.LOW, 1),
        (Odd.DAY, datetime.date(2024, 5, 17)),
        (Odd.BIG, 2**70),
        (Odd.BYTES, b"odd"),
        (Odd.PAIR, [1, 2]),
        (Pair(1, Pair(2, Colour.RED)), [1, [2, "red"]]),
        (Item(Decimal(1)), {"price": Decimal(1), "total": 3}),
        (Item([Item({Colour.RED})]), {"price": [{"price": {"red"}, "total": 3}], "total": 3}),
        (Model(theNumber=5), {"theNumber": 5, "day": datetime.date(2024, 5, 17)}),
        (Checked(5), {"number": 5}),
        (pydantic.RootModel[list[int]]([1]), [1]),
        ({Pair(1, "a"), (2, (3, "b"))}, {(1, "a"), (2, (3, "b"))}),
        ({Frozen(1)}, [{"value": 1}]),
        (frozenset({(1, Frozen(1))}), [[1, {"value": 1}]]),
        ({"$rb": 1}, {"$rb": 1}),
        ({"$rb": ["date", "2024-05-17"]}, {"$rb": ["date", "2024-05-17"]}),
        ([{"$rb": ["$rb", {"$rb": ["x", {1}]}]}], [{"$rb": ["$rb", {"$rb": ["x", {1}]}]}]),
        (Item({"$rb": ["set", [1, 1]]}), {"price": {"$rb": ["set", [1, 1]]}, "total": 3}),
        ({"text": '{"$rb":["date","2024"]}', "day": datetime.date.min}, None),
    ],
)
def test_what_arrives(serializer: Any, value: object, arrives: object) -> None:
    read = serializer.loads(serializer.dumps(value))
    arrives = value if arrives is None else arrives
    assert read == arrives
    assert types_in(read) == types_in(arrives)
    assert str(read) == str(arrives) or isinstance(value, set)


@SERIALIZERS
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (datetime.datetime.max.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=-1))), "after the year 9999"),
        (datetime.time(12, tzinfo=ZoneInfo("UTC")).replace(tzinfo=ZoneInfo("Europe/Berlin")), "other offsets"),
        (Decimal(10) ** 20_000, "digits, or with an exponent"),
        (Decimal("1" * 4301), "digits, or with an exponent"),
        (Decimal("1" * 4301 + "E-100"), "digits, or with an exponent"),
        (10**4300, "digits"),
        (memoryview(b"1234").cast("i"), "memoryview of format"),
        ({1, (2, object())}, "object"),
        (Item(object()), "object"),
        (Item({(1, 2): 3}), "key"),
        (Pair(1, slice(1)), "slice"),
        (int, "type"),
        (Item, "type"),
        (Colour, "EnumType"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_arrive_is_refused(serializer: Any, value: object, reason: str) -> None:
    if isinstance(serializer, AnyKeysMsgpackSerializer) and reason == "key":
        return
    with pytest.raises(SerializationError, match=reason):
        serializer.dumps([[{"deep": value}], {}])


@SERIALIZERS
def test_an_object_in_itself_is_refused(serializer: Any) -> None:
    item = Item(None)
    item.price = item
    with pytest.raises(SerializationError):
        serializer.dumps(item)
    deep: Any = 1
    for _ in range(5000):
        deep = Item(deep)
    with pytest.raises(SerializationError):
        serializer.dumps(deep)
    assert serializer.loads(serializer.dumps([Item(1)])) == [{"price": 1, "total": 3}]


def test_sets_in_sets_are_limited_in_messagepack() -> None:
    deep: Any = frozenset()
    for _ in range(15):
        deep = frozenset({deep})
    assert MsgpackSerializer().loads(MsgpackSerializer().dumps(deep)) == deep
    with pytest.raises(SerializationError, match="nested more than 16 deep"):
        MsgpackSerializer().dumps(frozenset({deep}))


def test_extensions_of_others_arrive_as_they_did() -> None:
    value = [msgpack.ExtType(5, b"mine"), msgpack.Timestamp(1, 0)]
    read = MsgpackSerializer().loads(MsgpackSerializer().dumps(value))
    assert read == [msgpack.ExtType(5, b"mine"), datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=datetime.UTC)]


def test_keys_of_maps_may_have_tags_where_all_keys_are_allowed() -> None:
    codec = Codec(any_map_keys=True)
    value = {uuid.UUID(int=1): 1, datetime.date.min: 2, frozenset({(1, 2)}): 3, Decimal(1): 4, ("a", (Decimal(2),)): 5}
    assert codec.decode(*codec.encode(value)) == value
    with pytest.raises(SerializationError, match="map key of type Frozen: it arrives as a map"):
        codec.encode({Frozen(1): 1})
    with pytest.raises(SerializationError, match="map key of type UUID"):
        Codec().encode({uuid.UUID(int=1): 1})


def test_a_signalling_nan_arrives() -> None:
    for serializer in (MsgpackSerializer(), JsonSerializer()):
        for text in ("NaN", "-NaN123", "sNaN"):
            assert str(serializer.loads(serializer.dumps(decimal.Decimal(text)))) == text


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(-1e9, 1e9) | st.text(max_size=3),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(plain, st.datetimes(timezones=st.just(datetime.UTC)), st.binary())
def test_what_peers_of_older_versions_know_is_sent_as_before(value: object, instant: object, data: object) -> None:
    for each in (value, [instant, data]):
        assert MsgpackSerializer().dumps(each) == msgpack.packb(each, datetime=True)
    assert JsonSerializer().dumps(value) == json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
