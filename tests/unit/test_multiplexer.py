"""The socket that fast channels and aiormq share: flow control, loss, buffering of writes, heartbeats."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from pamqp import commands as spec

from rabibridge._amqp import frames
from rabibridge_core.errors import ConnectionLostError
from tests.support.fast_channels import RecordedChannel, deliver_frames, method_frame, receive
from tests.support.sockets import RecordedSocket, forwarded, multiplexed_socket

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge._connection.multiplexer import Multiplexer


async def test_blocked_and_unblocked() -> None:
    multiplexer, _, reader = multiplexed_socket()
    channel, other = RecordedChannel(multiplexer, 1), RecordedChannel(multiplexer, 2)
    blocked, unblocked = (
        method_frame(0, spec.Connection.Blocked("low on memory")),
        method_frame(0, spec.Connection.Unblocked()),
    )
    receive(multiplexer, blocked, [1])
    assert multiplexer.paused
    assert multiplexer.blocked == "low on memory"
    multiplexer.data_received(unblocked)
    assert not multiplexer.paused
    assert channel.flow == other.flow == [True, False]
    assert await forwarded(reader) == blocked + unblocked


async def test_paused_while_either_the_socket_or_the_broker_says_so() -> None:
    multiplexer, _, _ = multiplexed_socket()
    channel = RecordedChannel(multiplexer, 1)
    multiplexer.pause_writing()
    assert multiplexer.paused
    multiplexer.data_received(method_frame(0, spec.Connection.Blocked("alarm")))
    multiplexer.resume_writing()
    assert multiplexer.paused
    multiplexer.data_received(method_frame(0, spec.Connection.Unblocked()))
    assert not multiplexer.paused
    assert channel.flow == [True, True, True, False]


async def test_connection_close_tells_all_channels_why() -> None:
    multiplexer, socket, reader = multiplexed_socket()
    channels = [RecordedChannel(multiplexer, number) for number in (1, 2, 3)]
    close = method_frame(0, spec.Connection.Close(320, "CONNECTION_FORCED - shutdown", 0, 0))
    multiplexer.data_received(close)
    for channel in channels:
        assert channel.received == [("closed", str(multiplexer.error))]
        channel.write(b"late")
    await asyncio.sleep(0)
    assert "320 CONNECTION_FORCED - shutdown" in str(multiplexer.error)
    assert multiplexer.close_code == 320
    assert socket.written == b""
    assert await forwarded(reader) == close  # aiormq answers it


def _lost() -> ConnectionLostError:
    return ConnectionLostError("for a test")


@pytest.mark.parametrize(
    "end",
    [
        lambda multiplexer: multiplexer.eof_received(),
        lambda multiplexer: multiplexer.connection_lost(None),
        lambda multiplexer: multiplexer.connection_lost(ConnectionResetError(104, "reset")),
        lambda multiplexer: multiplexer.abort(_lost()),
    ],
    ids=["eof", "closed", "reset", "aborted"],
)
@pytest.mark.parametrize("arrived", [0, 1, 7, 8, 30, -1], ids=lambda size: f"{size} bytes of a message")
async def test_the_end_in_the_middle_of_a_message_is_told_once(
    end: Callable[[Multiplexer], None], arrived: int
) -> None:
    multiplexer, _, _ = multiplexed_socket()
    channel = RecordedChannel(multiplexer, 1)
    lost: list[ConnectionLostError] = []
    multiplexer.on_lost = lost.append
    multiplexer.data_received(deliver_frames(1, 1, b"x" * 200)[:arrived])
    end(multiplexer)
    if multiplexer.error is not None:
        multiplexer.connection_lost(None)
    assert channel.received == [("closed", str(multiplexer.error))]
    assert lost == [multiplexer.error]


async def test_what_was_not_sent_when_the_connection_went_is_never_sent() -> None:
    multiplexer, socket, _ = multiplexed_socket()
    channel = RecordedChannel(multiplexer, 1)
    channel.write(b"unsent")
    multiplexer.abort(_lost())
    channel.flush()
    await asyncio.sleep(0)
    assert socket.written == b""


async def test_all_that_is_written_in_a_turn_leaves_in_one_send_in_order() -> None:
    multiplexer, socket, _ = multiplexed_socket()
    channels = [RecordedChannel(multiplexer, number) for number in (1, 2)]
    for number in range(10):
        channels[number % 2].write(b"%d" % number)
    assert socket.writes == []
    await asyncio.sleep(0)
    assert socket.writes == [b"0123456789"]
    channels[0].write(b"more")
    channels[0].flush()
    assert socket.writes[1:] == [b"more"]
    await asyncio.sleep(0)
    assert len(socket.writes) == 2


async def test_what_is_written_behind_leaves_behind_all_of_the_turn() -> None:
    multiplexer, socket, _ = multiplexed_socket()
    channel = RecordedChannel(multiplexer, 1)
    multiplexer.write_at_flush(lambda: b"last ")
    channel.write(b"first ")
    multiplexer.write_at_flush(lambda: b"and least")
    channel.write(b"second ")
    await asyncio.sleep(0)
    assert socket.writes == [b"first second last and least"]
    multiplexer.write_at_flush(lambda: b"alone")
    await asyncio.sleep(0)
    assert socket.writes[1:] == [b"alone"]


async def test_a_flood_in_one_turn_meets_the_socket_before_the_turn_ends() -> None:
    multiplexer, socket, _ = multiplexed_socket()
    channel = RecordedChannel(multiplexer, 1)
    for _ in range(100):
        channel.write(b"x" * 10_000)
    assert len(socket.written) > 700_000
    await asyncio.sleep(0)
    assert len(socket.written) == 1_000_000


async def test_aiormq_gets_a_heartbeat_at_most_once_a_second_while_channel_frames_arrive() -> None:
    multiplexer, _, reader = multiplexed_socket()
    RecordedChannel(multiplexer, 1)
    clock = 1000.0
    multiplexer._event_loop = _Clock(lambda: clock)  # type: ignore[assignment] # of the loop only the clock is used here
    seconds, step = 20, 0.05
    for number in range(int(seconds / step)):
        clock += step
        multiplexer.data_received(deliver_frames(1, number, b"x"))
    heartbeats = (await forwarded(reader)).count(frames.HEARTBEAT)
    assert seconds / 2 <= heartbeats <= seconds + 1


async def test_aiormq_gets_no_extra_heartbeat_when_it_gets_frames_anyway() -> None:
    multiplexer, _, reader = multiplexed_socket()
    RecordedChannel(multiplexer, 1)
    clock = 1000.0
    multiplexer._event_loop = _Clock(lambda: clock)  # type: ignore[assignment] # of the loop only the clock is used here
    sent = b""
    for number in range(100):
        clock += 0.5
        frame = method_frame(3, spec.Queue.BindOk())
        sent += frame
        multiplexer.data_received(frame + deliver_frames(1, number, b"x"))
    assert await forwarded(reader) == sent


class _Clock:
    def __init__(self, time: Callable[[], float]) -> None:
        self.time = time


async def test_a_broker_of_another_version_is_left_to_aiormq() -> None:
    multiplexer, socket, reader = multiplexed_socket()
    multiplexer.data_received(b"AMQP\x00\x01\x00\x00")
    assert await forwarded(reader) == b"AMQP\x00\x01\x00\x00"
    assert not socket.aborted


def test_the_recorded_socket_is_an_asyncio_transport() -> None:
    assert isinstance(RecordedSocket(), asyncio.Transport)
