"""Frames against pamqp, another implementation of AMQP 0-9-1, in both directions."""

from __future__ import annotations

import contextlib
import itertools
import struct
from datetime import UTC, datetime
from typing import Any

import pamqp.decode
import pamqp.encode
import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body as amqp_body
from pamqp import commands as spec
from pamqp import header as amqp_header
from pamqp import heartbeat as amqp_heartbeat

from rabibridge._amqp import frames, headers, methods
from rabibridge._amqp.field_tables import decode_table, encode_table
from rabibridge._amqp.frames import FrameError
from rabibridge._amqp.properties import Properties, encode_properties, parse_properties
from tests.support.field_tables import foreign_tables, own_tables

_KINDS = (1, 2, 3, 8)
_PROPERTIES = ("content_type", "content_encoding", "headers", "correlation_id", "reply_to", "expiration", "persistent")

short = st.text(max_size=60)
names = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789_.-", max_size=100)
channels = st.integers(1, 65535)
tags = st.integers(0, 2**63 - 1)  # pamqp takes them for signed


def _pamqp(data: bytes) -> tuple[int, Any]:
    """Parse one whole frame with pamqp; return the channel and the frame."""
    used, channel, frame = pamqp.frame.unmarshal(data)
    assert used == len(data)
    return channel, frame


def _frames_of(written: frames.Frames) -> list[tuple[int, Any]]:
    data = b"".join(written) if isinstance(written, list) else written
    found = []
    while data:
        used, channel, frame = pamqp.frame.unmarshal(data)
        found.append((channel, frame))
        data = data[used:]
    return found


def _raw(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


def _payload(frame: bytes) -> tuple[bytes, int, int]:
    """Return the arguments that a parser takes, inside other bytes so that reading too far shows."""
    return b"\xff" + frame, 8, len(frame)


# What we write, pamqp reads.


@given(channel=channels, exchange=names, key=names, mandatory=st.booleans())
def test_publish_is_read_by_pamqp(channel: int, exchange: str, key: str, mandatory: bool) -> None:
    frame = methods.publish_method(channel, exchange.encode(), key.encode(), mandatory=mandatory)
    number, publish = _pamqp(frame)
    assert number == channel
    assert isinstance(publish, spec.Basic.Publish)
    assert (publish.exchange, publish.routing_key) == (exchange, key)
    assert (publish.mandatory, publish.immediate) == (mandatory, False)
    assert frame == pamqp.frame.marshal(
        spec.Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory), channel
    )


@pytest.mark.parametrize("used", [c for n in range(8) for c in itertools.combinations(_PROPERTIES, n)], ids="+".join)
def test_every_combination_of_properties_is_read_by_pamqp(used: tuple[str, ...]) -> None:
    values: dict[str, Any] = {
        "content_type": "application/msgpack",
        "content_encoding": "zstd",
        "headers": encode_table({"rb-error": "execution", "n": -5}),
        "correlation_id": b"12345",
        "reply_to": b"amq.gen-\xc3\xa9",
        "expiration": b"5000",
        "persistent": True,
        "user_id": b"gateway",
    }
    given_values = {name: values[name] if name in used else type(values[name])() for name in values}
    flags, encoded = encode_properties(Properties(**given_values))
    head, first, second = _frames_of(frames.content(7, b"", flags, encoded, b"x" * 150, 100))
    header = head[1]
    assert isinstance(header, amqp_header.ContentHeader)
    assert header.body_size == 150
    assert [first[1].value, second[1].value] == [b"x" * 100, b"x" * 50]
    read = header.properties
    for name in ("content_type", "content_encoding", "correlation_id", "reply_to", "expiration", "user_id"):
        value = given_values[name]
        assert getattr(read, name) == ((value if isinstance(value, str) else value.decode()) or None)
    assert read.headers == ({"rb-error": "execution", "n": -5} if "headers" in used else None)
    assert read.delivery_mode == (2 if "persistent" in used else None)
    for name in ("priority", "message_id", "timestamp", "message_type", "app_id"):
        assert getattr(read, name) is None


@pytest.mark.parametrize("max_payload", [1, 10, 4096 - 8])
@pytest.mark.parametrize("size_of", [(0, 0), (0, 1), (1, -1), (1, 0), (1, 1), (2, 0), (7, 3)])
def test_bodies_are_split_at_max_payload(max_payload: int, size_of: tuple[int, int]) -> None:
    size = size_of[0] * max_payload + size_of[1]
    body = bytes(number % 251 for number in range(size))
    flags, encoded = encode_properties(Properties("application/json", correlation_id=b"1"))
    head, *parts = _frames_of(frames.content(3, b"", flags, encoded, body, max_payload))
    assert head[1].body_size == size
    assert all(isinstance(part, amqp_body.ContentBody) for _, part in parts)
    sizes = [len(part.value) for _, part in parts]
    assert all(0 < size <= max_payload for size in sizes)
    assert len(sizes) == -(-size // max_payload)
    assert b"".join(part.value for _, part in parts) == body
    assert {channel for channel, _ in (head, *parts)} == {3}


@given(channel=channels, tag=tags, requeue=st.booleans())
def test_ack_and_reject_are_what_pamqp_writes(channel: int, tag: int, requeue: bool) -> None:
    assert methods.ack(channel, tag) == pamqp.frame.marshal(spec.Basic.Ack(delivery_tag=tag), channel)
    assert methods.reject(channel, tag, requeue=requeue) == pamqp.frame.marshal(
        spec.Basic.Reject(delivery_tag=tag, requeue=requeue), channel
    )


def test_the_heartbeat_is_what_pamqp_writes() -> None:
    assert pamqp.frame.marshal(amqp_heartbeat.Heartbeat(), 0) == frames.HEARTBEAT


@pytest.mark.parametrize("size", [256, 1000])
def test_what_does_not_fit_into_a_short_string_is_refused(size: int) -> None:
    assert frames.short_string(b"x" * 255)[0] == 255
    with pytest.raises(FrameError, match=str(size)):
        frames.short_string(b"x" * size)
    with pytest.raises(FrameError):
        methods.publish_method(1, b"rpc", b"x" * size, mandatory=True)
    with pytest.raises(FrameError):
        encode_properties(Properties(correlation_id=b"x" * size))


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_the_deadline_table_is_a_table_like_any_other(timeout: int, deadline: int) -> None:
    table = headers.deadline_table(timeout, deadline)
    assert decode_table(table) == {"rb-timeout": timeout, "rb-deadline": deadline}
    assert headers.parse_deadline_table(table) == (timeout, deadline)


def test_the_probe_table_is_a_table_like_any_other() -> None:
    assert decode_table(headers.PROBE_TABLE) == {"rb-probe": True}
    assert encode_table({"rb-probe": True}) == headers.PROBE_TABLE


@given(own_tables)
def test_other_tables_are_not_taken_for_a_deadline_table(table: dict[str, Any]) -> None:
    assert headers.parse_deadline_table(encode_table(table)) is None
    assert headers.parse_deadline_table(b"") is None


def test_a_table_of_the_same_size_is_not_taken_for_a_deadline_table() -> None:
    right = headers.deadline_table(1, 2)
    for wrong in (
        right.replace(b"rb-timeout", b"rb-timeouT"),
        right.replace(b"rb-deadline", b"rb-deadlinE"),
        right.replace(b"timeoutl", b"timeoutd"),
        right.replace(b"deadlinel", b"deadlined"),
    ):
        assert len(wrong) == len(right)
        assert headers.parse_deadline_table(wrong) is None


# What pamqp writes, we read.


@given(channel=channels, tag=tags, redelivered=st.booleans(), consumer=names, exchange=names, key=names)
def test_deliver_of_pamqp(channel: int, tag: int, redelivered: bool, consumer: str, exchange: str, key: str) -> None:
    frame = pamqp.frame.marshal(spec.Basic.Deliver(consumer, tag, redelivered, exchange, key), channel)
    assert frame[7:11] == methods.DELIVER
    assert methods.parse_deliver(*_payload(frame)) == (tag, redelivered, exchange == "")


@given(channel=channels, code=st.integers(0, 65535), text=short, exchange=names, key=names)
def test_return_of_pamqp(channel: int, code: int, text: str, exchange: str, key: str) -> None:
    frame = pamqp.frame.marshal(spec.Basic.Return(code, text, exchange, key), channel)
    assert frame[7:11] == methods.RETURN
    assert methods.parse_reason(*_payload(frame)) == (code, text)
    assert methods.parse_returned_key(*_payload(frame)) == key.encode()


@given(code=st.integers(0, 65535), text=short)
def test_closes_of_pamqp(code: int, text: str) -> None:
    for close, method in (
        (spec.Channel.Close(code, text, 60, 40), methods.CHANNEL_CLOSE),
        (spec.Connection.Close(code, text, 10, 40), methods.CONNECTION_CLOSE),
    ):
        frame = pamqp.frame.marshal(close, 1)
        assert frame[7:11] == method
        assert methods.parse_reason(*_payload(frame)) == (code, text)


def test_methods_have_the_numbers_that_pamqp_gives_them() -> None:
    for method, constant in (
        (spec.Basic.Ack(1), methods.ACK),
        (spec.Basic.Nack(1), methods.NACK),
        (spec.Basic.Cancel("tag"), methods.CANCEL),
        (spec.Connection.Blocked("why"), methods.CONNECTION_BLOCKED),
        (spec.Connection.Unblocked(), methods.CONNECTION_UNBLOCKED),
    ):
        assert pamqp.frame.marshal(method, 1)[7:11] == constant


@given(
    content_type=st.none() | short.filter(bool),
    content_encoding=st.none() | short.filter(bool),
    headers=st.none() | foreign_tables,
    delivery_mode=st.none() | st.sampled_from([1, 2]),
    priority=st.none() | st.integers(0, 255),
    correlation_id=st.none() | short.filter(bool),
    reply_to=st.none() | short.filter(bool),
    expiration=st.none() | short.filter(bool),
    message_id=st.none() | short.filter(bool),
    timestamp=st.none() | st.just(datetime(2024, 5, 6, tzinfo=UTC)),
    message_type=st.none() | short.filter(bool),
    user_id=st.none() | short.filter(bool),
    app_id=st.none() | short.filter(bool),
)
def test_properties_of_pamqp(**values: Any) -> None:
    frame = pamqp.frame.marshal(amqp_header.ContentHeader(0, 0, spec.Basic.Properties(**values)), 1)
    data, start, end = _payload(frame)
    read = parse_properties(data, start + 12, end)
    assert read == Properties(
        values["content_type"],
        values["content_encoding"],
        b"" if values["headers"] is None else pamqp.encode.field_table(values["headers"]),
        (values["correlation_id"] or "").encode(),
        (values["reply_to"] or "").encode(),
        (values["expiration"] or "").encode(),
        values["delivery_mode"] == 2,
        b"",
        (values["user_id"] or "").encode(),
    )


@given(st.binary(max_size=60), st.binary(max_size=300))
def test_random_properties_are_parsed_or_refused(payload: bytes, behind: bytes) -> None:
    try:
        read = parse_properties(payload + b"\xce" + behind, 0, len(payload))
    except (FrameError, IndexError):  # the parser turns the second into the first
        return
    assert len(read.correlation_id) + len(read.reply_to) + len(read.headers) <= len(payload)


@given(
    st.sampled_from([methods.parse_deliver, methods.parse_reason, methods.parse_returned_key]), st.binary(max_size=40)
)
def test_methods_cut_short_are_refused(parse: Any, payload: bytes) -> None:
    with contextlib.suppress(FrameError, IndexError):  # the parser turns the second into the first
        parse(payload, 0, len(payload))
