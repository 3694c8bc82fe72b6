"""A channel that aiormq does not know: opening, answers, and every way in which it closes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pamqp.frame
import pytest
from aiormq import exceptions as amqp
from pamqp import commands as spec

from rabibridge._amqp.control_methods import CANCEL_OK, CONSUME_OK, QOS_OK, cancel, consume, qos
from rabibridge._connection.own_channel import NotReachedError, OwnChannel
from rabibridge_core.errors import ConnectionLostError
from tests.support.fast_channels import deliver_frames, method_frame
from tests.support.sockets import RecordedSocket, forwarded, multiplexed_socket
from tests.support.waiting import soon

if TYPE_CHECKING:
    from rabibridge._connection.multiplexer import Multiplexer

_QOS = qos(1)


class _Session:
    """What a channel uses of a connection."""

    max_payload = 4088

    def __init__(self, *, expects_cancel_ok: bool = False) -> None:
        self.multiplexer: Multiplexer
        self.multiplexer, self.socket, self.reader = multiplexed_socket()
        self.expects_cancel_ok = expects_cancel_ok

    def free_channel(self) -> int:
        return 5

    def receive(self, *methods: Any) -> None:
        self.multiplexer.data_received(b"".join(method_frame(5, method) for method in methods))


class _Channel(OwnChannel):
    def __init__(self, session: Any) -> None:
        super().__init__(session, 1000)
        self.heard: list[Any] = []

    def delivered(self, tag: int, redelivered: bool, properties: Any, body: bytes) -> None:
        self.heard.append(body)

    def cancelled(self) -> None:
        self.heard.append("cancelled")

    def closed(self, error: ConnectionLostError) -> None:
        self.heard.append("closed")


async def _sent(socket: RecordedSocket) -> list[str]:
    """Return the names of the methods that were sent since the last call."""
    await asyncio.sleep(0)
    data, names = socket.written, list[str]()
    socket.writes.clear()
    while data:
        used, channel, frame = pamqp.frame.unmarshal(data)
        assert channel == 5
        names.append(frame.name)
        data = data[used:]
    return names


async def test_opening_and_the_first_methods_leave_in_one_piece() -> None:
    session = _Session()
    channel = _Channel(session)
    assert await _sent(session.socket) == []
    consuming = channel.request((_QOS, consume("q", b"tag")), QOS_OK, CONSUME_OK)
    await asyncio.sleep(0)
    assert len(session.socket.writes) == 1
    assert await _sent(session.socket) == ["Channel.Open", "Basic.Qos", "Basic.Consume"]
    session.receive(spec.Channel.OpenOk(), spec.Basic.QosOk())
    assert not consuming.done()
    session.multiplexer.data_received(
        method_frame(5, spec.Basic.ConsumeOk("tag")) + deliver_frames(5, 1, b"one", correlation_id="c")
    )
    assert (await soon(consuming)).startswith(CONSUME_OK)
    assert channel.heard == [b"one"]
    assert (await forwarded(session.reader)).strip(b"\x08\0\xce") == b""  # nothing but heartbeats


async def test_the_first_unanswered_request_is_to_blame_when_the_broker_closes() -> None:
    session = _Session()
    channel = _Channel(session)
    requests = [channel.request((_QOS,), QOS_OK) for _ in range(3)]
    await _sent(session.socket)
    session.receive(
        spec.Channel.OpenOk(), spec.Basic.QosOk(), spec.Channel.Close(406, "PRECONDITION_FAILED - no", 0, 0)
    )
    ends = await soon(asyncio.gather(*requests, return_exceptions=True))
    assert [type(end) for end in ends] == [bytes, amqp.ChannelPreconditionFailed, NotReachedError]
    assert await _sent(session.socket) == ["Channel.CloseOk"]
    assert channel.heard == ["closed"]
    assert not session.multiplexer.channels  # its number is free
    with pytest.raises(NotReachedError):
        await channel.request((_QOS,), QOS_OK)
    assert channel.start_closing().done()
    assert await _sent(session.socket) == []


async def test_an_answer_of_a_queue_may_come_after_later_ones() -> None:
    """RabbitMQ's queues answer basic.consume and basic.cancel, its channels everything else."""
    session = _Session()
    channel = _Channel(session)
    session.receive(spec.Channel.OpenOk())
    cancelling, asked = channel.request((cancel(b"rpc"),), CANCEL_OK), channel.request((_QOS,), QOS_OK)
    session.receive(spec.Basic.QosOk())
    assert (await soon(asked)) == QOS_OK
    assert not cancelling.done()
    session.receive(spec.Basic.CancelOk("rpc"))
    assert (await soon(cancelling)).startswith(CANCEL_OK)
    assert session.multiplexer.error is None


async def test_closing_frees_the_number_when_the_broker_has_confirmed_it() -> None:
    session = _Session()
    channel = _Channel(session)
    session.receive(spec.Channel.OpenOk())
    closing = channel.start_closing()
    assert channel.start_closing() is closing
    assert await _sent(session.socket) == ["Channel.Open", "Channel.Close"]
    session.multiplexer.data_received(deliver_frames(5, 1, b"late", correlation_id="c"))
    assert 5 in session.multiplexer.channels
    session.receive(spec.Channel.CloseOk())
    await soon(closing)
    assert channel.heard == []
    assert not session.multiplexer.channels


async def test_both_sides_close_at_once() -> None:
    session = _Session()
    channel = _Channel(session)
    asked = channel.request((_QOS,), QOS_OK)
    await _sent(session.socket)
    closing = channel.start_closing()
    session.receive(spec.Channel.OpenOk(), spec.Channel.Close(404, "NOT_FOUND", 0, 0))
    with pytest.raises(amqp.ChannelNotFoundEntity):
        await soon(asked)
    assert await _sent(session.socket) == ["Channel.Close", "Channel.CloseOk"]
    assert not closing.done()
    assert 5 in session.multiplexer.channels  # the number is not free before the answer to our own close
    session.receive(spec.Channel.CloseOk())
    await soon(closing)
    assert not session.multiplexer.channels
    assert (await forwarded(session.reader)).strip(b"\x08\0\xce") == b""  # nothing but heartbeats


@pytest.mark.parametrize("expected", [True, False])
async def test_a_cancelled_consumer_is_confirmed_to_brokers_that_wait_for_it(expected: bool) -> None:
    session = _Session(expects_cancel_ok=expected)
    channel = _Channel(session)
    channel.request((_QOS,), QOS_OK)
    await _sent(session.socket)
    session.receive(spec.Channel.OpenOk(), spec.Basic.QosOk(), spec.Basic.Cancel("rpc", nowait=True))
    assert channel.heard == ["cancelled"]
    assert await _sent(session.socket) == (["Basic.CancelOk"] if expected else [])


async def test_the_loss_of_the_connection_ends_all_requests() -> None:
    session = _Session()
    channel = _Channel(session)
    requests = [channel.request((_QOS,), QOS_OK) for _ in range(3)]
    requests[0].cancel()
    closing = channel.start_closing()
    session.multiplexer.connection_lost(OSError("cut"))
    ends = await soon(asyncio.gather(*requests, return_exceptions=True))
    assert [type(end) for end in ends] == [asyncio.CancelledError, ConnectionLostError, ConnectionLostError]
    assert ends[1] is not ends[2]
    await soon(closing)
    with pytest.raises(ConnectionLostError, match="cut"):
        await _Channel(session).request((_QOS,), QOS_OK)


@pytest.mark.parametrize("method", [spec.Basic.QosOk(), spec.Channel.Flow(False), spec.Channel.CloseOk()])
async def test_an_answer_to_nothing_ends_the_connection(method: Any) -> None:
    session = _Session()
    channel = _Channel(session)
    session.receive(spec.Channel.OpenOk(), method)
    assert session.socket.aborted
    assert "unexpected method" in str(session.multiplexer.error)
    assert channel.heard == ["closed"]


async def test_frames_that_were_not_asked_for_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    session: Any = _Session()
    OwnChannel(session, 1000)
    session.receive(spec.Channel.OpenOk(), spec.Basic.Ack(1))
    session.multiplexer.data_received(deliver_frames(5, 1, b"one", correlation_id="c"))
    texts = [record.getMessage() for record in caplog.records]
    assert texts == [
        "unexpected publisher confirm on channel 5, which is not in confirm mode",
        "unexpected delivery on channel 5, which does not consume",
    ]
