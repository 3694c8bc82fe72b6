"""Fast channels, driven with bytes: what a channel handles, what it rejects, and what aiormq gets."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands as spec

from rabibridge._amqp import frames, methods
from rabibridge_core.errors import ConnectionLostError
from tests.support.fast_channels import (
    CLOSE,
    MAX_BODY,
    MAX_PAYLOAD,
    RecordedChannel,
    body_frame,
    deliver_frames,
    header_frame,
    method_frame,
    raw_frame,
    receive,
    return_frames,
)
from tests.support.sockets import forwarded, multiplexed_socket

message = st.tuples(st.sampled_from([1, 2]), st.binary(max_size=MAX_BODY), st.booleans())


@settings(deadline=None)
@given(st.lists(message, max_size=8), st.lists(st.integers(1, 200), min_size=1, max_size=20))
async def test_deliveries_in_any_chunking(messages: list[tuple[int, bytes, bool]], sizes: list[int]) -> None:
    multiplexer, socket, reader = multiplexed_socket()
    channels = {number: RecordedChannel(multiplexer, number) for number in (1, 2)}
    sent, expected = b"", {number: list[Any]() for number in channels}
    for tag, (channel, body, redelivered) in enumerate(messages):
        sent += deliver_frames(channel, tag, body, redelivered=redelivered, correlation_id=f"c{tag}")
        expected[channel].append(("delivered", tag, redelivered, b"c%d" % tag, body))
    receive(multiplexer, sent, sizes)
    assert {number: channel.received for number, channel in channels.items()} == expected
    assert not socket.aborted
    assert (await forwarded(reader)).replace(frames.HEARTBEAT, b"") == b""


@settings(deadline=None)
@given(st.data())
async def test_frames_of_several_channels_may_be_interleaved(data: st.DataObject) -> None:
    multiplexer, socket, reader = multiplexed_socket()
    channels = {number: RecordedChannel(multiplexer, number) for number in (1, 2)}
    queues: list[list[bytes]] = []
    for number in (1, 2):
        body = data.draw(st.binary(max_size=MAX_BODY))
        whole = deliver_frames(number, 9, body, correlation_id="c") + method_frame(
            number, spec.Basic.Ack(3, multiple=True)
        )
        queues.append(_split(whole))
    aiormqs = [
        method_frame(5, spec.Channel.OpenOk()),
        method_frame(1, spec.Basic.QosOk()),
        method_frame(0, spec.Connection.Blocked()),
    ]
    queues.append([*aiormqs[:1], *aiormqs[2:]])
    while any(queues):
        queue = data.draw(st.sampled_from([queue for queue in queues if queue]))
        multiplexer.data_received(queue.pop(0))
    for channel in channels.values():
        assert [heard[0] for heard in channel.received] == ["delivered", "confirmed"]
    assert (await forwarded(reader)).replace(frames.HEARTBEAT, b"") == aiormqs[0] + aiormqs[2]
    assert not socket.aborted


def _split(data: bytes) -> list[bytes]:
    parts = []
    while data:
        used = 8 + struct.unpack_from(">I", data, 3)[0]
        parts.append(data[:used])
        data = data[used:]
    return parts


async def test_confirms_and_returns() -> None:
    multiplexer, _, reader = multiplexed_socket()
    channel = RecordedChannel(multiplexer, 1)
    multiplexer.data_received(
        method_frame(1, spec.Basic.Ack(1))
        + method_frame(1, spec.Basic.Nack(2))
        + method_frame(1, spec.Basic.Ack(7, multiple=True))
        + method_frame(1, spec.Basic.Nack(2**62, multiple=True))
        + return_frames(1, b"x" * 120, correlation_id="lost")
        + return_frames(1, b"", correlation_id="empty")
    )
    assert channel.received == [
        ("confirmed", 1, False, True),
        ("confirmed", 2, False, False),
        ("confirmed", 7, True, True),
        ("confirmed", 2**62, True, False),
        ("returned", 312, "NO_ROUTE", b"nowhere", b"lost"),
        ("returned", 312, "NO_ROUTE", b"nowhere", b"empty"),
    ]
    assert (await forwarded(reader)).replace(frames.HEARTBEAT, b"") == b""


@pytest.mark.parametrize("size", [0, 1, MAX_BODY - 1, MAX_BODY, MAX_BODY + 1, MAX_BODY + 50, 5000])
async def test_of_a_body_one_byte_more_than_allowed_is_kept(size: int) -> None:
    multiplexer, _, _ = multiplexed_socket()
    channel = RecordedChannel(multiplexer, 1)
    body = bytes(number % 256 for number in range(size))
    multiplexer.data_received(deliver_frames(1, 1, body) + deliver_frames(1, 2, b"next"))
    assert channel.received[0][4] == body[: MAX_BODY + 1]
    assert channel.received[1][4] == b"next"


async def test_a_body_that_never_ends_is_not_kept() -> None:
    multiplexer, socket, _ = multiplexed_socket()
    channel = RecordedChannel(multiplexer, 1)
    multiplexer.data_received(method_frame(1, spec.Basic.Deliver("c", 1, False, "", "")) + header_frame(1, 2**62))
    for part in (b"x" * MAX_PAYLOAD, b"x", b""):
        for _ in range(200):
            multiplexer.data_received(body_frame(1, part))
    assert len(channel._parts.getvalue()) <= MAX_BODY + 1
    assert channel.received == []
    assert not socket.aborted


async def test_body_frames_without_a_byte_are_passed_over() -> None:
    multiplexer, _, _ = multiplexed_socket()
    channel = RecordedChannel(multiplexer, 1)
    deliver = method_frame(1, spec.Basic.Deliver("c", 1, False, "", ""))
    multiplexer.data_received(
        deliver
        + header_frame(1, 3)
        + body_frame(1, b"")
        + body_frame(1, b"ab")
        + body_frame(1, b"")
        + body_frame(1, b"c")
    )
    assert channel.received == [("delivered", 1, False, b"", b"abc")]


DELIVER_ALONE = method_frame(1, spec.Basic.Deliver("c", 1, False, "", ""))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(header_frame(1, 1), id="a content header without a method"),
        pytest.param(body_frame(1, b"x"), id="a body without a method"),
        pytest.param(DELIVER_ALONE + body_frame(1, b"x"), id="a body without a content header"),
        pytest.param(DELIVER_ALONE + header_frame(1, 5) + header_frame(1, 5), id="two content headers"),
        pytest.param(DELIVER_ALONE + DELIVER_ALONE, id="a method where a content header belongs"),
        pytest.param(
            DELIVER_ALONE + header_frame(1, 5) + method_frame(1, spec.Basic.Ack(1)), id="a method inside a message"
        ),
        pytest.param(DELIVER_ALONE + header_frame(1, 5) + method_frame(1, CLOSE), id="the close inside a message"),
        pytest.param(DELIVER_ALONE + header_frame(1, 5) + body_frame(1, b"123456"), id="more body than announced"),
        pytest.param(DELIVER_ALONE + raw_frame(2, 1, b"\x00\x3c\x00\x00"), id="a short content header"),
        pytest.param(DELIVER_ALONE + raw_frame(2, 1, bytes(12)), id="a content header without flags"),
        pytest.param(DELIVER_ALONE + raw_frame(2, 1, bytes(12) + b"\x80\x00\xffabc"), id="a property that is cut off"),
        pytest.param(DELIVER_ALONE + raw_frame(2, 1, bytes(14) + b"abc"), id="more than the properties"),
        pytest.param(raw_frame(1, 1, b"\x00\x3c\x00\x3c"), id="a deliver without arguments"),
        pytest.param(raw_frame(1, 1, b"\x00\x3c\x00\x3c\xffabc"), id="a deliver that is cut off"),
        pytest.param(raw_frame(1, 1, b"\x00\x3c\x00\x50\x00"), id="a short ack"),
        pytest.param(raw_frame(1, 1, b"\x00\x3c\x00\x50" + bytes(10)), id="a long ack"),
        pytest.param(raw_frame(1, 1, b"\x00\x3c\x00\x78"), id="a short nack"),
        pytest.param(raw_frame(1, 1, b"\x00\x3c\x00\x32\x01\x38\xff"), id="a return that is cut off"),
        pytest.param(raw_frame(1, 1, b"\x00\x14\x00\x28\x01"), id="a close that is cut off"),
        pytest.param(raw_frame(1, 0, b"\x00\x0a\x00\x32\x01"), id="a connection close that is cut off"),
        pytest.param(raw_frame(8, 1, b""), id="a heartbeat on a channel"),
        pytest.param(raw_frame(9, 1, b""), id="an unknown frame type"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="another protocol"),
        pytest.param(b"\x00" * 20, id="zeros"),
    ],
)
@pytest.mark.parametrize("size", [1, 2**16])
async def test_what_amqp_does_not_allow_ends_the_connection(data: bytes, size: int) -> None:
    multiplexer, socket, _ = multiplexed_socket()
    channel, other = RecordedChannel(multiplexer, 1), RecordedChannel(multiplexer, 2)
    lost: list[ConnectionLostError] = []
    multiplexer.on_lost = lost.append
    receive(multiplexer, data, [size])
    if not socket.aborted:  # it may wait for the rest: then the next frame shows it
        receive(multiplexer, deliver_frames(1, 1, b"x" * 50) * 10, [size])
    assert socket.aborted
    assert multiplexer.error is not None
    assert "not AMQP" in str(multiplexer.error)
    assert lost == [multiplexer.error]
    assert channel.received == other.received == [("closed", str(multiplexer.error))]
    assert not channel.open


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=100), max_size=10), st.integers(0, 3))
async def test_random_bytes_never_raise(chunks: list[bytes], after: int) -> None:
    multiplexer, socket, _ = multiplexed_socket()
    channel = RecordedChannel(multiplexer, 1)
    for number in range(after):
        multiplexer.data_received(deliver_frames(1, number, b"x"))
    for chunk in chunks:
        if socket.aborted:
            break
        multiplexer.data_received(chunk)
    assert socket.aborted == (multiplexer.error is not None)
    assert [heard[0] for heard in channel.received].count("closed") == (multiplexer.error is not None)


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from([1, 2, 3]), st.booleans())
async def test_a_frame_of_random_payload_never_raises(payload: bytes, kind: int, inside: bool) -> None:
    multiplexer, socket, _ = multiplexed_socket()
    channel = RecordedChannel(multiplexer, 1)
    multiplexer.data_received(DELIVER_ALONE if inside else b"")
    multiplexer.data_received(raw_frame(kind, 1, payload))
    multiplexer.data_received(raw_frame(kind, 0, payload))
    assert socket.aborted == (multiplexer.error is not None)
    assert channel.open == (multiplexer.error is None and not payload.startswith(methods.CHANNEL_CLOSE))


async def test_after_channel_close_nothing_is_written_on_that_channel() -> None:
    multiplexer, socket, reader = multiplexed_socket()
    channel, other = RecordedChannel(multiplexer, 1), RecordedChannel(multiplexer, 2)
    channel.write(b"before ")
    close = method_frame(1, CLOSE)
    multiplexer.data_received(close)
    channel.write(b"after ")
    other.write(b"other ")
    await asyncio.sleep(0)
    channel.write(b"later ")
    channel.flush()
    await asyncio.sleep(0)
    assert socket.written == b"before other "
    assert channel.received[0][0] == "closed"
    assert "406 PRECONDITION_FAILED" in channel.received[0][1]
    assert other.received == []
    assert await forwarded(reader) == close  # aiormq answers it


async def test_after_channel_close_the_number_is_free_for_another_channel() -> None:
    multiplexer, _, reader = multiplexed_socket()
    old = RecordedChannel(multiplexer, 1)
    multiplexer.data_received(method_frame(1, CLOSE) + deliver_frames(1, 5, b"x"))
    assert [heard[0] for heard in old.received] == ["closed"]
    assert deliver_frames(1, 5, b"x") in await forwarded(reader)
    new = RecordedChannel(multiplexer, 1)
    old.detach()
    multiplexer.data_received(deliver_frames(1, 6, b"y"))
    assert new.received == [("delivered", 6, False, b"", b"y")]


async def test_what_arrives_for_a_channel_that_is_closing_is_thrown_away() -> None:
    multiplexer, _, reader = multiplexed_socket()
    channel = RecordedChannel(multiplexer, 1)
    channel.mark_closing()
    close_ok = method_frame(1, spec.Channel.CloseOk())
    multiplexer.data_received(
        deliver_frames(1, 1, b"x")
        + method_frame(1, spec.Basic.Ack(1))
        + return_frames(1, b"y")
        + method_frame(1, spec.Basic.Cancel("ctag"))
        + close_ok
    )
    channel.write(b"nothing")
    await asyncio.sleep(0)
    assert channel.received == []
    assert (await forwarded(reader)).endswith(close_ok)
    multiplexer.abort(ConnectionLostError("for a test"))
    assert channel.received == []


async def test_a_cancelled_consumer() -> None:
    multiplexer, _, reader = multiplexed_socket()
    channel = RecordedChannel(multiplexer, 1)
    cancel = method_frame(1, spec.Basic.Cancel("ctag"))
    multiplexer.data_received(cancel)
    assert channel.received == [("cancelled",)]
    assert await forwarded(reader) == cancel


async def test_replies_to_what_aiormq_asked_on_the_channel_are_aiormqs() -> None:
    multiplexer, _, reader = multiplexed_socket()
    channel = RecordedChannel(multiplexer, 1)
    answers = b"".join(
        method_frame(1, answer)
        for answer in (
            spec.Basic.QosOk(),
            spec.Basic.ConsumeOk("ctag"),
            spec.Basic.CancelOk("ctag"),
            spec.Queue.DeclareOk("q", 0, 0),
            spec.Confirm.SelectOk(),
            spec.Channel.CloseOk(),
        )
    )
    multiplexer.data_received(answers)
    assert channel.received == []
    assert await forwarded(reader) == answers
