"""Values with tags that nobody sends: each is one clear error, at a bounded cost, and nothing is looked up by name."""

from __future__ import annotations

import contextlib
import datetime
import json
import struct
import sys
import time
import uuid
from decimal import Decimal
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core._codec.codec import Codec
from rabibridge_core._codec.decoding_cost import UNMEASURED, json_cost, msgpack_cost
from rabibridge_core._codec.msgpack_serializer import AnyKeysMsgpackSerializer
from rabibridge_core._codec.serializers import JsonSerializer, MsgpackSerializer
from rabibridge_core.errors import ContentRejectedError, SerializationError

pack: Any = msgpack.packb
KINDS = {"datetime": 1, "date": 2, "time": 3, "timedelta": 4, "uuid": 5, "decimal": 6, "set": 7, "frozenset": 8,
         "complex": 9, "int": 10, "ndarray": 11}  # fmt: skip
MALFORMED: list[tuple[str, Any]] = [
    *((name, text) for name in ("datetime", "date", "time") for text in ("", "x", "2024-13-01", "25:00", "1" * 1000)),
    ("datetime", "0001-01-01T00:00:00+14:00"),
    ("date", "2024-02-30"),
    ("date", "\u0662\u0660\u0662\u0664-01-01"),
    ("timedelta", [10**10, 0, 0]),
    ("timedelta", [1, 2]),
    ("timedelta", [1, 2, 3.5]),
    ("timedelta", [1, 2, "3"]),
    ("timedelta", "P1D"),
    ("uuid", "0" * 32),
    ("uuid", "urn:uuid:" + str(uuid.UUID(int=1))),
    ("decimal", "1" * 4301),
    ("decimal", "1" * 10_000_000),
    ("decimal", "1E+999999999"),
    ("decimal", "1_000"),
    ("decimal", " 1"),
    ("decimal", "\u0661"),
    ("decimal", "1\n"),
    ("decimal", ""),
    ("int", "1" * 10_000_000),
    ("int", "0x10"),
    ("int", "f" * 3572),
    ("set", [[{}]]),
    ("set", [{}]),
    ("set", [1, 1]),
    ("set", [1, True]),
    ("set", "abc"),
    ("set", {"a": 1}),
    ("frozenset", [[[{}]]]),
    ("complex", [1]),
    ("complex", ["1", 2]),
    ("complex", "1j"),
]


def as_msgpack(name: str, payload: Any) -> bytes:
    text = payload.encode() if isinstance(payload, str) else pack(payload)
    packed: bytes = pack([msgpack.ExtType(82, bytes([KINDS[name]]) + text)])
    return packed


def as_json(name: str, payload: Any) -> bytes:
    return json.dumps([{"$rb": [name, payload]}]).encode()


@pytest.mark.parametrize(("name", "payload"), MALFORMED, ids=lambda value: str(value)[:30])
def test_malformed_values_are_one_clear_error(name: str, payload: Any) -> None:
    bodies: list[tuple[Any, bytes]] = [
        (MsgpackSerializer(), as_msgpack(name, payload)),
        (AnyKeysMsgpackSerializer(), as_msgpack(name, payload)),
        (JsonSerializer(), as_json(name, payload)),
    ]
    for serializer, body in bodies:
        start = time.process_time()
        with pytest.raises(
            SerializationError, match=r"^the received bytes cannot be decoded as .*: a.* in it "
        ) as caught:
            serializer.loads(body)
        assert time.process_time() - start < 2
        assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    "body",
    [
        b"\xc7\x00\x52",
        b"\xd4\x52\x00",
        b"\xd4\x52\xff",
        b"\xd5\x52\x01\xff",
        b"\xd5\x52\x07\xc1",
        b"\xd5\x52\x07\x05",
        b"\xd4\x52\x07",
        b"\xd6\x52\x07\x91\x01\x01",
        b"\xc7\x06\x52\x07\xdd\xff\xff\xff\xff",
        b"\x81\xd5\x52\x07\x90\x01",
    ],
)
def test_malformed_extensions_are_errors(body: bytes) -> None:
    for serializer in (MsgpackSerializer(), AnyKeysMsgpackSerializer()):
        for read in (serializer.loads, serializer.loads_in_steps):
            with pytest.raises(SerializationError, match="cannot be decoded as msgpack"):
                read(body)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "Decimal", "dict", "", "subprocess.Popen", "__class__"])
def test_no_class_is_found_by_a_name_on_the_wire(name: str) -> None:
    before = set(sys.modules)
    with pytest.raises(SerializationError, match="a tag that this version does not know"):
        JsonSerializer().loads(as_json(name, "echo"))
    with pytest.raises(SerializationError, match="a tag that this version does not know"):
        JsonSerializer().loads(as_json(name, ["echo"]))
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    "found", [{"$rb": 1}, {"$rb": ["date"]}, {"$rb": [1, 2]}, {"$rb": ["a", 1], "b": 2}, {"$r": 1}]
)
def test_an_object_of_another_form_is_an_object(found: object) -> None:
    assert JsonSerializer().loads(json.dumps([found]).encode()) == [found]


def test_json_tags_are_found_beside_long_and_large_numbers() -> None:
    body = b'[{"$rb":["date","2024-05-17"]},1e99,' + b"9" * 400 + b"]"
    assert JsonSerializer().loads(body) == [datetime.date(2024, 5, 17), 1e99, int("9" * 400)]


def test_members_with_one_hash_are_refused_at_once() -> None:
    many = [str(uuid.UUID(int=number * (2**61 - 1))) for number in range(1, 5000)]
    assert len({hash(uuid.UUID(one)) for one in many}) == 1
    entries = [msgpack.ExtType(82, b"\x05" + one.encode()) for one in many]
    bodies: list[tuple[Any, bytes]] = [
        (MsgpackSerializer(), as_msgpack("set", entries)),
        (JsonSerializer(), as_json("frozenset", [{"$rb": ["uuid", one]} for one in many])),
    ]
    for serializer, body in bodies:
        start = time.process_time()
        with pytest.raises(SerializationError, match="many members with the same hash"):
            serializer.loads(body)
        assert time.process_time() - start < 5


def test_deep_sets_are_refused_at_a_bounded_cost() -> None:
    deep = b"\x90"
    while len(deep) < 8_000_000:
        size = len(deep) + 2 if len(deep) < 100_000 else 8_000_000
        filler = b"\xc6" + struct.pack(">I", size - len(deep)) + bytes(size - len(deep)) if size > 100_000 else b""
        payload = (b"\x92" + filler if filler else b"\x91") + deep
        deep = b"\xc9" + struct.pack(">I", len(payload) + 1) + b"\x52\x08" + payload
        if len(deep) > 100_000 and not filler:
            break
    start = time.process_time()
    with pytest.raises(SerializationError, match="nested more than 16 deep"):
        MsgpackSerializer().loads(deep)
    assert time.process_time() - start < 5
    nested = b"[" * 400 + b"]" * 400
    with pytest.raises(SerializationError):
        JsonSerializer().loads(b'{"$rb":["set",' * 500 + nested + b"]}" * 500)
    with pytest.raises(SerializationError):
        JsonSerializer().loads(b'{"$rb":["frozenset",[' * 300_000 + b"]]}" * 300_000)  # 3.14 reads 20,000


def test_arrays_that_claim_much_in_a_set_are_refused() -> None:
    claims = b"\xdd\x00\x03\xff\xff" * 50_000
    body = b"\xc9" + struct.pack(">I", len(claims) + 1) + b"\x52\x07" + claims
    with pytest.raises(SerializationError):
        MsgpackSerializer().loads(body)


def test_sets_are_measured_with_their_members() -> None:
    members = set(range(200_000))
    codec = Codec(max_decoded=1024 * 1024, compress_threshold=None)
    for serializer in (MsgpackSerializer(), JsonSerializer()):
        body = serializer.dumps(members)
        assert len(body) > UNMEASURED
        cost = json_cost(body, 0) if serializer.name == "json" else msgpack_cost(body, 2**40)
        assert cost.memory > sys.getsizeof(members) + 200_000 * 32
        assert cost.complete
        with pytest.raises(ContentRejectedError, match="max_decoded"):
            codec.decode(body, serializer.content_type)
        assert Codec().decode(body, serializer.content_type) == members
    nested = MsgpackSerializer().dumps([{frozenset({("a" * 70, number)}) for number in range(3000)}])
    assert msgpack_cost(nested, 2**40).complete
    assert Codec().decode(nested) == Codec(any_map_keys=True).decode(nested)


@pytest.mark.parametrize("value", [{"a": {1, 2}}, [Decimal(1)] * 9, {frozenset({1}), (1, (2, frozenset()))}])
@given(at=st.integers(0, 200), byte=st.integers(0, 255))
def test_broken_bytes_raise_nothing_else(value: object, at: int, byte: int) -> None:
    for serializer in (MsgpackSerializer(), JsonSerializer()):
        body = bytearray(serializer.dumps(value))
        body[at % len(body)] = byte
        for read in (serializer.loads, getattr(serializer, "loads_in_steps", serializer.loads)):
            with contextlib.suppress(SerializationError):
                read(bytes(body))
        with contextlib.suppress(SerializationError):
            msgpack_cost(body, 2**40)
