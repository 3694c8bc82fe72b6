"""Header tables and the properties of messages that are sent on, against pamqp."""

from __future__ import annotations

import contextlib
import struct
from datetime import UTC, datetime
from typing import Any

import pamqp.decode
import pamqp.encode
import pamqp.frame
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp import header as amqp_header

from rabibridge._amqp.field_tables import (
    amended_properties,
    amended_table,
    decode_table,
    decode_table_or_empty,
    encode_table,
)
from rabibridge._amqp.frames import FrameError
from tests.support.field_tables import foreign_tables, own_tables, short


@given(own_tables)
@example({"empty": b"", "all": bytes(range(256)), "tenth": 0.1, "large": 1e300, "least": -(2**63), "yes": True})
def test_tables_come_back_as_they_went_and_pamqp_reads_them(table: dict[str, Any]) -> None:
    encoded = encode_table(table)
    decoded = decode_table(encoded)
    assert decoded == table
    assert {name: type(value) for name, value in decoded.items()} == {name: type(table[name]) for name in table}
    assert decode_table_or_empty(encoded) == table
    assert pamqp.decode.field_table(encoded) == (len(encoded), table)


@given(foreign_tables)
def test_tables_of_pamqp(table: dict[str, Any]) -> None:
    assert decode_table(pamqp.encode.field_table(table)) == table


@given(st.one_of(own_tables.map(encode_table), foreign_tables.map(pamqp.encode.field_table)), st.data())
def test_a_table_with_another_byte_is_what_pamqp_makes_of_it(table: bytes, data: st.DataObject) -> None:
    changed = bytearray(table)
    changed[data.draw(st.integers(0, len(table) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_table(bytes(changed))
    except FrameError:
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever pamqp raises
            pamqp.decode.field_table(bytes(changed))
    else:
        expected = pamqp.decode.field_table(bytes(changed))[1]
        assert decoded == expected or "nan" in repr(expected)


def test_header_tables_of_more_than_32_kibibytes_are_not_read() -> None:
    assert len(decode_table_or_empty(encode_table({"a": "x" * 32_000}))) == 1
    assert decode_table_or_empty(encode_table({"a": "x" * 33_000})) == {}


@given(st.binary(max_size=80))
@example(b"\0\0\0\x05\x01aT\xff\xff")
@example(b"\0\0\0\x0b\x01aT\xff\xff\xff\xff\xff\xff\xff\xff")
@example(b"\0\0\0\x08\x01aD\xff\xff\xff\xff\xff")
def test_a_table_of_random_bytes_is_a_table_or_a_frame_error(data: bytes) -> None:
    assert isinstance(decode_table_or_empty(data), dict)
    with contextlib.suppress(FrameError):
        assert isinstance(decode_table(data), dict)


@given(kind=st.sampled_from(list(b"tbBsuIilLfdDSAFTVxz\0")), value=st.binary(max_size=40))
def test_a_table_entry_of_any_type_and_random_bytes(kind: int, value: bytes) -> None:
    entry = b"\x01a" + bytes((kind,)) + value
    assert isinstance(decode_table_or_empty(struct.pack(">I", len(entry)) + entry), dict)


def test_tables_in_tables_in_tables_are_refused_not_followed_to_the_end_of_the_stack() -> None:
    table = b""
    for _ in range(2000):
        inner = struct.pack(">I", len(table)) + table
        table = b"\x01aF" + inner
    assert decode_table_or_empty(struct.pack(">I", len(table)) + table) == {}


nested_tables = st.dictionaries(
    st.text(max_size=20), foreign_tables | st.lists(st.integers(-(2**63), 2**63 - 1) | short, max_size=4), max_size=4
)


@given(table=foreign_tables | nested_tables, added=own_tables, drop=st.sets(st.text(max_size=20), max_size=3))
def test_an_amended_table_has_what_it_had_and_what_was_added(
    table: dict[str, Any], added: dict[str, Any], drop: set[str]
) -> None:
    drop |= set(list(table)[:1])
    amended = amended_table(pamqp.encode.field_table(table), [name.encode() for name in drop], added)
    assert decode_table(amended) == {name: value for name, value in table.items() if name not in drop} | added


def test_no_table_is_amended_to_a_table() -> None:
    assert decode_table(amended_table(b"", [b"CC"], {"n": 1})) == {"n": 1}


def test_a_table_too_large_to_be_read_is_amended() -> None:
    table = encode_table({f"h{number}": "x" for number in range(20_000)})
    assert decode_table_or_empty(table) == {}
    amended = amended_table(table, [b"h7"], {"n": 1})
    assert len(amended) == len(table) - len(encode_table({"h7": "x"})) + len(encode_table({"n": 1}))


@given(st.binary(max_size=80), st.booleans())
def test_random_bytes_are_amended_to_a_table_or_refused(data: bytes, sized: bool) -> None:
    table = struct.pack(">I", len(data)) + data if sized else data
    with contextlib.suppress(FrameError):
        amended = amended_table(table, [], {})
        assert int.from_bytes(amended[:4], "big") == len(amended) - 4


_ALL: dict[str, Any] = {
    "content_type": "text/plain",
    "content_encoding": "zstd",
    "headers": {"old": 1},
    "delivery_mode": 2,
    "priority": 7,
    "correlation_id": "17",
    "reply_to": "replies",
    "expiration": "5000",
    "message_id": "m",
    "timestamp": datetime(2024, 5, 6, tzinfo=UTC),
    "message_type": "t",
    "user_id": "somebody",
    "app_id": "a",
}


def _raw(properties: dict[str, Any]) -> bytes:
    frame = pamqp.frame.marshal(amqp_header.ContentHeader(0, 0, spec.Basic.Properties(**properties)), 1)
    return frame[7 + 12 : -1]


@given(st.sets(st.sampled_from(list(_ALL))), st.booleans(), st.booleans())
def test_amended_properties_keep_all_but_table_expiration_and_user(
    used: set[str], with_table: bool, with_expiration: bool
) -> None:
    properties = {name: value for name, value in _ALL.items() if name in used}
    table = encode_table({"new": "value"}) if with_table else b""
    flags, encoded = amended_properties(_raw(properties), table, b"70" if with_expiration else b"")
    expected = {name: value for name, value in properties.items() if name not in ("headers", "expiration", "user_id")}
    expected |= {"headers": {"new": "value"}} if with_table else {}
    expected |= {"expiration": "70"} if with_expiration else {}
    assert flags.to_bytes(2, "big") + encoded == _raw(expected)


@given(st.binary(max_size=60))
def test_random_properties_are_amended_or_refused(raw: bytes) -> None:
    with contextlib.suppress(FrameError):
        flags, encoded = amended_properties(raw, b"", b"")
        assert len(encoded) <= len(raw)
        assert flags & 0x2110 == 0


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\x80\x01", b"\x80\x00\x05abc", b"\x80\x00\x01ab"])
def test_properties_cut_short_or_too_long_are_refused(raw: bytes) -> None:
    with pytest.raises(FrameError):
        amended_properties(raw, b"", b"")
