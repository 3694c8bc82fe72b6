"""What is sent is what is read: a value comes back equal, or its sender gets a SerializationError.

Two conversions are documented: tuples come back as lists, and map keys of JSON come back as text.
"""

from __future__ import annotations

import array
import datetime
import enum
import math
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core._codec.codec import Codec
from rabibridge_core._codec.msgpack_serializer import AnyKeysMsgpackSerializer
from rabibridge_core._codec.serializers import JsonSerializer, MsgpackSerializer
from rabibridge_core.errors import SerializationError

_EAST, _WEST = (datetime.timezone(datetime.timedelta(hours=hours)) for hours in (12, -12))

texts = st.text(max_size=5)
instants = st.datetimes(timezones=st.sampled_from([datetime.UTC, _EAST, _WEST]))
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**65)
    | st.floats(allow_nan=False)
    | texts
    | st.binary(max_size=5)
    | instants
    | st.just(datetime.datetime(2024, 1, 1))
)
keys = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.5, 1.0, "1", "true", "null", b"1", (1, "a")])
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(keys | texts, inner), max_leaves=8
)


def as_read(value: Any) -> Any:
    """Return the value with the documented conversion of tuples, outside of keys."""
    if isinstance(value, dict):
        return {key: as_read(item) for key, item in value.items()}
    return [as_read(item) for item in value] if isinstance(value, list | tuple) else value


def with_text_keys(value: Any) -> Any:
    """Return the value with the documented conversion of JSON's map keys."""
    if isinstance(value, list):
        return [with_text_keys(item) for item in value]
    if not isinstance(value, dict):
        return value
    names = {True: "true", False: "false", None: "null"}
    return {
        names[key] if key is None or isinstance(key, bool) else str(key): with_text_keys(item)
        for key, item in value.items()
    }


def size(value: Any) -> int:
    """Return the number of values in a value, keys excluded."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(size, items))


@pytest.mark.parametrize("serializer", [MsgpackSerializer(), AnyKeysMsgpackSerializer()], ids=["text keys", "any keys"])
@given(value=values)
def test_msgpack_gives_back_what_it_encodes(serializer: MsgpackSerializer, value: object) -> None:
    try:
        body = serializer.dumps(value)
    except SerializationError:
        return
    assert serializer.loads(body) == serializer.loads_in_steps(body) == as_read(value)


@given(values)
def test_json_gives_back_what_it_encodes(value: object) -> None:
    try:
        body = JsonSerializer().dumps(value)
    except SerializationError:
        return
    read = JsonSerializer().loads(body)
    assert read == with_text_keys(as_read(value))
    assert size(read) == size(as_read(value))


@pytest.mark.parametrize("value", [{1: "a", "1": "b"}, {None: 1, "null": 2}, {True: 1, "true": 2}, {1.5: 1, "1.5": 2}])
def test_json_refuses_keys_that_become_the_same_text(value: object) -> None:
    with pytest.raises(SerializationError, match="two keys become the same text"):
        JsonSerializer().dumps([[{"deep": value}], {}])


@pytest.mark.parametrize(
    "value",
    [
        datetime.datetime.max.replace(tzinfo=_WEST),
        datetime.datetime.min.replace(tzinfo=_EAST),
        msgpack.Timestamp(2**60, 0),
        msgpack.Timestamp(1, 999_999_999),
        memoryview(array.array("i", [1, 2])),
    ],
    ids=["after 9999", "before 1", "no date", "nanoseconds", "integers"],
)
def test_msgpack_refuses_what_nobody_can_read(value: object) -> None:
    with pytest.raises(SerializationError, match="msgpack cannot encode"):
        MsgpackSerializer().dumps([[{"deep": [value]}], {}])


@pytest.mark.parametrize("key", [1, 0.5, None, True, (1, 2), datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)])
def test_map_keys_of_msgpack_are_text_and_bytes_unless_asked(key: object) -> None:
    value = [[{"deep": {key: "x"}}], {}]
    with pytest.raises(SerializationError, match=f"map key of type {type(key).__qualname__}.*any_map_keys"):
        Codec().encode(value)
    asked = Codec(any_map_keys=True)
    body, content_type, content_encoding = asked.encode(value)
    assert asked.decode(body, content_type, content_encoding) == value
    with pytest.raises(SerializationError):
        Codec().decode(body, content_type, content_encoding)


@pytest.mark.parametrize("serializer", [MsgpackSerializer(), AnyKeysMsgpackSerializer()], ids=["text keys", "any keys"])
def test_every_byte_may_stand_at_every_place_of_a_short_body(serializer: MsgpackSerializer) -> None:
    for number in range(-300, 70_000):
        assert serializer.loads(serializer.dumps([0, number])) == [0, number]
    for byte in range(256):
        value = [[bytes([byte]), {"a": byte}], {"b": bytes([byte, 1])}, chr(byte), byte]
        assert serializer.loads(serializer.dumps(value)) == value


class Colour(enum.StrEnum):
    RED = "red"


def test_subclasses_of_text_are_keys_like_text() -> None:
    value = {Colour.RED: 1, b"bytes": 2}
    assert MsgpackSerializer().loads(MsgpackSerializer().dumps(value)) == {"red": 1, b"bytes": 2}
    assert JsonSerializer().loads(JsonSerializer().dumps({Colour.RED: 1})) == {"red": 1}


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400 + ".0", "9" * 290 + "e99", "1E+0400"])
def test_json_reads_no_number_that_no_float_can_hold(number: str) -> None:
    for body in (number, f'[{number},"text"]', f'{{"a":{number}}}'):
        with pytest.raises(SerializationError):
            JsonSerializer().loads(body.encode())


@pytest.mark.parametrize("number", ["1e308", "1e-999", "1.7976931348623157e308", "9" * 299 + "e9", "0." + "3" * 500])
def test_json_reads_every_number_that_a_float_can_hold(number: str) -> None:
    assert JsonSerializer().loads(number.encode()) == float(number)
    assert math.isfinite(JsonSerializer().loads(number.encode()))


@pytest.mark.parametrize("digits", [149, 300, 301, 1234, 4300])
def test_json_keeps_long_integers(digits: int) -> None:
    value = [10**digits - 1, "x", -(10**digits) + 1]
    assert JsonSerializer().loads(JsonSerializer().dumps(value)) == value


def test_json_bounds_the_digits_of_integers_on_both_sides() -> None:
    with pytest.raises(SerializationError):
        JsonSerializer().dumps([10**4300])
    with pytest.raises(SerializationError):
        JsonSerializer().loads(b"[" + b"9" * 4301 + b"]")
    with pytest.raises(SerializationError):
        JsonSerializer().loads(b"[" + b",".join([b"9" * 4299] * 1100) + b"]")


@pytest.mark.parametrize("serializer", [MsgpackSerializer(), JsonSerializer()], ids=["msgpack", "json"])
def test_cycles_and_deep_nesting_are_refused_when_they_are_sent(serializer: Any) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for value in (cycle, deep):
        with pytest.raises(SerializationError):
            serializer.dumps(value)
    assert serializer.loads(serializer.dumps([1])) == [1]
