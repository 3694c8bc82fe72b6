from __future__ import annotations

import asyncio
import contextlib
import datetime
import math
import pickle
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core._codec.serializers import (
    JsonSerializer,
    MsgpackSerializer,
    PickleSerializer,
)
from rabibridge_core._codec.serializers import registry as known
from rabibridge_core.errors import SerializationError
from tests.unit.codec_support import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

text = st.text(st.characters(exclude_categories=["Cs"]))
json_scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | text
json_values = st.recursive(
    json_scalars.filter(lambda value: value not in (math.inf, -math.inf)),
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=20,
)
instants = st.datetimes(timezones=st.just(datetime.UTC))
msgpack_values = st.recursive(
    json_scalars | st.binary() | instants,
    lambda inner: st.lists(inner) | st.dictionaries(text | st.binary(), inner),
    max_leaves=20,
)
python_values = st.recursive(
    json_scalars | st.binary() | st.complex_numbers(allow_nan=False) | st.dates() | st.frozensets(st.integers()),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(text, inner),
    max_leaves=20,
)


class Raising:
    """Raises an exception of its choice while it is pickled or unpickled."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _raise, (self.error,)


class Unpicklable:
    def __reduce__(self) -> tuple[Any, ...]:
        raise SystemExit("secret of the value")


def _raise(error: BaseException) -> None:
    raise error


@given(msgpack_values)
def test_msgpack_gives_back_what_it_was_given(value: object) -> None:
    serializer = known.get("msgpack")
    assert serializer.loads(serializer.dumps(value)) == value


@given(json_values)
def test_json_gives_back_what_it_was_given(value: object) -> None:
    serializer = known.get("json")
    assert serializer.loads(serializer.dumps(value)) == value


@pytest.mark.parametrize("name", ["pickle", "cloudpickle"])
@given(value=python_values)
def test_pickles_give_back_what_they_were_given(name: str, value: object) -> None:
    serializer = known.get(name)
    assert serializer.loads(serializer.dumps(value)) == value


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("name", NAMES)
def test_any_buffer_is_read(name: str, buffer: Callable[[bytes], bytes]) -> None:
    serializer = known.get(name)
    assert serializer.loads(buffer(serializer.dumps([[1, "ä"], {}]))) == [[1, "ä"], {}]


@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_tuples_come_back_as_lists(name: str) -> None:
    serializer = known.get(name)
    assert serializer.loads(serializer.dumps(((1, 2), {"a": (3,)}))) == [[1, 2], {"a": [3]}]


def test_json_makes_strings_of_integer_keys() -> None:
    json = JsonSerializer()
    assert json.loads(json.dumps({1: "a"})) == {"1": "a"}


def test_msgpack_sends_instants_as_timestamps() -> None:
    serializer = MsgpackSerializer()
    here = datetime.datetime(2024, 5, 17, 12, 30, 15, 250, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    there = serializer.loads(serializer.dumps(here))
    assert there == here
    assert there.tzinfo is datetime.UTC
    assert serializer.dumps(here) == b"\xd7\xff" + struct.pack(">Q", 250_000 << 34 | int(here.timestamp()))


def test_msgpack_map_keys_cannot_be_chosen_to_have_one_hash() -> None:
    # Pairs (seconds, nanoseconds) whose tuples hash alike, the worst case for msgpack's own Timestamp as a key.
    ours = _colliding_pairs(50)
    assert len({hash(pair) for pair in ours}) == 1
    entries = [b"\xc7\x0c\xff" + struct.pack(">Iq", nano, seconds) + b"\x00" for seconds, nano in ours]
    body = b"\xdf" + struct.pack(">I", len(entries)) + b"".join(entries)
    with pytest.raises(SerializationError):
        MsgpackSerializer().loads(body)


def test_integers_are_no_keys_of_maps_unless_that_was_asked_for() -> None:
    # Of 86,000 multiples of 2**61 - 1, whose hash is 0, a dict takes seconds to make.
    keys = [number * (2**61 - 1) for number in range(1, 5)]
    assert {hash(key) for key in keys} == {0}
    body = b"\xdf" + struct.pack(">I", len(keys)) + b"".join(b"\xcf" + struct.pack(">Q", key) + b"\x00" for key in keys)
    with pytest.raises(SerializationError):
        MsgpackSerializer().loads(body)


def test_json_is_compact_utf8() -> None:
    assert JsonSerializer().dumps([["grün"], {"a": 1}]) == '[["grün"],{"a":1}]'.encode()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_sends_no_number_that_json_lacks(number: float) -> None:
    with pytest.raises(SerializationError):
        JsonSerializer().dumps([number])


@pytest.mark.parametrize("body", [b"[NaN]", b"[Infinity]", b"[-Infinity]", b"[1e999]", b"[-1e999]", b'{"a":1E400}'])
def test_json_reads_no_number_that_json_lacks(body: bytes) -> None:
    with pytest.raises(SerializationError):
        JsonSerializer().loads(body)


def test_cloudpickle_carries_a_lambda_and_pickle_does_not() -> None:
    serializer = known.get("cloudpickle")
    assert serializer.loads(serializer.dumps(lambda number: number + 1))(1) == 2
    with pytest.raises(SerializationError, match="pickle cannot encode a value of type function"):
        known.get("pickle").dumps(lambda: None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("msgpack", slice(1)),
        ("msgpack", object()),
        ("msgpack", "\ud800"),
        ("json", object()),
        ("json", {(1, 2): 3}),
        ("json", "\ud800"),
        ("pickle", Unpicklable()),
        ("cloudpickle", Unpicklable()),
    ],
)
def test_what_cannot_be_encoded_is_one_error_with_its_cause(name: str, value: object) -> None:
    with pytest.raises(SerializationError, match=f"^{name} cannot encode a value of type ") as caught:
        known.get(name).dumps(value)
    assert type(value).__qualname__ in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_the_error_names_the_type_inside_that_does_not_fit() -> None:
    for name in ("msgpack", "json"):
        with pytest.raises(SerializationError, match="slice"):
            known.get(name).dumps([[1, {"a": slice(1)}], {}])


@pytest.mark.parametrize("name", ["msgpack", "json", "pickle"])
def test_endless_and_very_deep_values_are_errors(name: str) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SerializationError):
        known.get(name).dumps(deep)
    endless: list[Any] = []
    endless.append(endless)
    if name != "pickle":  # which can represent it
        with pytest.raises(SerializationError):
            known.get(name).dumps(endless)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("msgpack", b""),
        ("msgpack", b"\xc1"),
        ("msgpack", b"\x91" * 100_000),
        ("msgpack", b"\xdd\xff\xff\xff\xff"),
        ("msgpack", b"\x01\x02"),
        ("msgpack", b"\xa1\xff"),
        ("msgpack", b"\x81\x90\x00"),
        ("msgpack", b"\xc7\x0c\xff" + b"\x00" * 4 + b"\x7f" * 8),
        ("json", b""),
        ("json", b"[" * 100_000),
        ("json", b"[1] [2]"),
        ("json", b'["\xff"]'),
        ("json", b"9" * 5000),
        ("json", '"ä"'.encode("utf-16")),
        ("pickle", b""),
        ("pickle", b"\x80\x05."),
        ("pickle", b"cno_such_module\nname\n."),
    ],
)
def test_what_cannot_be_decoded_is_one_error_with_its_cause(name: str, body: bytes) -> None:
    with pytest.raises(SerializationError, match=f"^the received bytes cannot be decoded as {name}: ") as caught:
        known.get(name).loads(body)
    assert caught.value.__cause__ is not None
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("name", ["msgpack", "json"])
@given(body=st.binary())
def test_no_bytes_raise_anything_else(name: str, body: bytes) -> None:
    with contextlib.suppress(SerializationError):
        known.get(name).loads(body)


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), GeneratorExit(), ZeroDivisionError("x")])
def test_code_in_a_pickle_cannot_end_its_reader(error: BaseException) -> None:
    body = pickle.dumps(Raising(error))
    with pytest.raises(SerializationError) as caught:
        known.get("pickle").loads(body)
    assert type(caught.value.__cause__) is type(error)


def test_an_interrupt_from_the_keyboard_is_not_swallowed() -> None:
    body = pickle.dumps(Raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        known.get("pickle").loads(body)


def test_importing_the_codec_loads_neither_cloudpickle_nor_zstandard(tmp_path: Path) -> None:
    code = "import sys, rabibridge_core._codec.codec\nprint({'cloudpickle', 'zstandard'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "set()\n"


def test_a_trusted_serializer_says_so() -> None:
    assert PickleSerializer().trusted_only


def _colliding_pairs(count: int) -> list[tuple[int, int]]:
    """Invert CPython's hash of a tuple of two small integers."""
    prime_1, prime_2, prime_5, bits = 11400714785074694791, 14029467366897019727, 2870177450012600261, 2**64 - 1
    inverse_1, inverse_2 = pow(prime_1, -1, 2**64), pow(prime_2, -1, 2**64)

    def left(lane: int) -> int:
        return ((lane << 31) | (lane >> 33)) & bits

    def right(lane: int) -> int:
        return ((lane >> 31) | (lane << 33)) & bits

    target = left(left(prime_5 + prime_2 & bits) * prime_1 + 5 * prime_2 & bits) * prime_1 & bits
    pairs: list[tuple[int, int]] = []
    nano = 0
    while len(pairs) < count:
        nano += 1
        inner = right(target * inverse_1 & bits) - nano * prime_2 & bits
        seconds = (right(inner * inverse_1 & bits) - prime_5) * inverse_2 & bits
        if 0 < seconds < 2**61 - 1:
            pairs.append((seconds, nano))
    return pairs
