"""The socket that lanes and aiormq share: flow, the end, what leaves when, and heartbeats."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from pamqp import commands as spec

from rabibridge import frames
from rabibridge_core.errors import ConnectionLostError
from tests.support.fast_channels import RecordedLane, deliver_frames, method_frame, receive
from tests.support.sockets import RecordedSocket, passed_on, tapped_socket

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge.tap import Tap


async def test_blocked_and_unblocked() -> None:
    tap, _, reader = tapped_socket()
    lane, other = RecordedLane(tap, 1), RecordedLane(tap, 2)
    blocked, unblocked = (
        method_frame(0, spec.Connection.Blocked("low on memory")),
        method_frame(0, spec.Connection.Unblocked()),
    )
    receive(tap, blocked, [1])
    assert tap.paused
    assert tap.blocked == "low on memory"
    tap.data_received(unblocked)
    assert not tap.paused
    assert lane.flow == other.flow == [True, False]
    assert await passed_on(reader) == blocked + unblocked


async def test_paused_while_either_the_socket_or_the_broker_says_so() -> None:
    tap, _, _ = tapped_socket()
    lane = RecordedLane(tap, 1)
    tap.pause_writing()
    assert tap.paused
    tap.data_received(method_frame(0, spec.Connection.Blocked("alarm")))
    tap.resume_writing()
    assert tap.paused
    tap.data_received(method_frame(0, spec.Connection.Unblocked()))
    assert not tap.paused
    assert lane.flow == [True, True, True, False]


async def test_connection_close_tells_all_lanes_why() -> None:
    tap, socket, reader = tapped_socket()
    lanes = [RecordedLane(tap, number) for number in (1, 2, 3)]
    close = method_frame(0, spec.Connection.Close(320, "CONNECTION_FORCED - shutdown", 0, 0))
    tap.data_received(close)
    for lane in lanes:
        assert lane.heard == [("closed", str(tap.error))]
        lane.write(b"late")
    await asyncio.sleep(0)
    assert "320 CONNECTION_FORCED - shutdown" in str(tap.error)
    assert tap.close_code == 320
    assert socket.written == b""
    assert await passed_on(reader) == close  # aiormq answers it


def _lost() -> ConnectionLostError:
    return ConnectionLostError("for a test")


@pytest.mark.parametrize(
    "end",
    [
        lambda tap: tap.eof_received(),
        lambda tap: tap.connection_lost(None),
        lambda tap: tap.connection_lost(ConnectionResetError(104, "reset")),
        lambda tap: tap.abort(_lost()),
    ],
    ids=["eof", "closed", "reset", "aborted"],
)
@pytest.mark.parametrize("arrived", [0, 1, 7, 8, 30, -1], ids=lambda size: f"{size} bytes of a message")
async def test_the_end_in_the_middle_of_a_message_is_told_once(end: Callable[[Tap], None], arrived: int) -> None:
    tap, _, _ = tapped_socket()
    lane = RecordedLane(tap, 1)
    lost: list[ConnectionLostError] = []
    tap.on_lost = lost.append
    tap.data_received(deliver_frames(1, 1, b"x" * 200)[:arrived])
    end(tap)
    if tap.error is not None:
        tap.connection_lost(None)
    assert lane.heard == [("closed", str(tap.error))]
    assert lost == [tap.error]


async def test_what_was_not_sent_when_the_connection_went_is_never_sent() -> None:
    tap, socket, _ = tapped_socket()
    lane = RecordedLane(tap, 1)
    lane.write(b"unsent")
    tap.abort(_lost())
    lane.flush()
    await asyncio.sleep(0)
    assert socket.written == b""


async def test_all_that_is_written_in_a_turn_leaves_in_one_send_in_order() -> None:
    tap, socket, _ = tapped_socket()
    lanes = [RecordedLane(tap, number) for number in (1, 2)]
    for number in range(10):
        lanes[number % 2].write(b"%d" % number)
    assert socket.writes == []
    await asyncio.sleep(0)
    assert socket.writes == [b"0123456789"]
    lanes[0].write(b"more")
    lanes[0].flush()
    assert socket.writes[1:] == [b"more"]
    await asyncio.sleep(0)
    assert len(socket.writes) == 2


async def test_what_is_written_behind_leaves_behind_all_of_the_turn() -> None:
    tap, socket, _ = tapped_socket()
    lane = RecordedLane(tap, 1)
    tap.write_behind(lambda: b"last ")
    lane.write(b"first ")
    tap.write_behind(lambda: b"and least")
    lane.write(b"second ")
    await asyncio.sleep(0)
    assert socket.writes == [b"first second last and least"]
    tap.write_behind(lambda: b"alone")
    await asyncio.sleep(0)
    assert socket.writes[1:] == [b"alone"]


async def test_a_flood_in_one_turn_meets_the_socket_before_the_turn_ends() -> None:
    tap, socket, _ = tapped_socket()
    lane = RecordedLane(tap, 1)
    for _ in range(100):
        lane.write(b"x" * 10_000)
    assert len(socket.written) > 700_000
    await asyncio.sleep(0)
    assert len(socket.written) == 1_000_000


async def test_aiormq_gets_a_heartbeat_at_most_once_a_second_while_lane_frames_arrive() -> None:
    tap, _, reader = tapped_socket()
    RecordedLane(tap, 1)
    clock = 1000.0
    tap._event_loop = _Clock(lambda: clock)  # type: ignore[assignment] # of the loop only the clock is used here
    seconds, step = 20, 0.05
    for number in range(int(seconds / step)):
        clock += step
        tap.data_received(deliver_frames(1, number, b"x"))
    heartbeats = (await passed_on(reader)).count(frames.HEARTBEAT)
    assert seconds / 2 <= heartbeats <= seconds + 1


async def test_aiormq_gets_no_extra_heartbeat_when_it_gets_frames_anyway() -> None:
    tap, _, reader = tapped_socket()
    RecordedLane(tap, 1)
    clock = 1000.0
    tap._event_loop = _Clock(lambda: clock)  # type: ignore[assignment] # of the loop only the clock is used here
    sent = b""
    for number in range(100):
        clock += 0.5
        frame = method_frame(3, spec.Queue.BindOk())
        sent += frame
        tap.data_received(frame + deliver_frames(1, number, b"x"))
    assert await passed_on(reader) == sent


class _Clock:
    def __init__(self, time: Callable[[], float]) -> None:
        self.time = time


async def test_a_broker_of_another_version_is_left_to_aiormq() -> None:
    tap, socket, reader = tapped_socket()
    tap.data_received(b"AMQP\x00\x01\x00\x00")
    assert await passed_on(reader) == b"AMQP\x00\x01\x00\x00"
    assert not socket.aborted


def test_the_recorded_socket_is_an_asyncio_transport() -> None:
    assert isinstance(RecordedSocket(), asyncio.Transport)
