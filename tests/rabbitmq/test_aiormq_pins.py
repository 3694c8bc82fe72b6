"""What we rely on in aiormq and aio-pika beyond their documentation: a new version that changes it fails here first."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import aio_pika
import aiormq
import pamqp.frame
import pytest
from aiormq.connection import TransportFactory
from pamqp import body as amqp_body
from pamqp import commands as spec
from pamqp import header as amqp_header
from yarl import URL

from rabibridge._amqp.frames import HEARTBEAT
from rabibridge._amqp.methods import publish_method
from rabibridge._connection.fast_channel import FastChannel
from rabibridge._connection.multiplexer_factory import MultiplexerFactory
from tests.support.scripted_broker import Peer, PeerConnection
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiormq.abc import DeliveredMessage

    from rabibridge._amqp.properties import Properties
    from rabibridge_core.errors import ConnectionLostError


async def _dial(url: str, **query: str) -> tuple[aiormq.Connection, MultiplexerFactory]:
    address = URL(url).update_query(query) if query else URL(url)
    assert address.host is not None
    assert address.port is not None
    factory = await MultiplexerFactory.connect(address.host, address.port, None)
    return await aiormq.connect(address, transport_factory=factory), factory


@pytest.fixture
async def tapped(vhost_url: str) -> AsyncIterator[tuple[aiormq.Connection, MultiplexerFactory]]:
    connection, factory = await _dial(vhost_url)
    yield connection, factory
    await soon(connection.close())


class _Lane(FastChannel):
    """Remembers what it hears."""

    def __init__(self, factory: MultiplexerFactory, channel: int) -> None:
        super().__init__(factory.multiplexer, channel, 4088, 2**20)
        self.heard: asyncio.Queue[Any] = asyncio.Queue()

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        self.heard.put_nowait(("delivered", tag, body))

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        self.heard.put_nowait(("confirmed", tag, accepted))

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        self.heard.put_nowait(("returned", code))

    def closed(self, error: ConnectionLostError) -> None:
        self.heard.put_nowait(("closed", str(error)))

    def cancelled(self) -> None:
        self.heard.put_nowait(("cancelled",))

    def publish(self, key: str, body: bytes) -> None:
        header = pamqp.frame.marshal(amqp_header.ContentHeader(0, len(body), spec.Basic.Properties()), self.number)
        parts = pamqp.frame.marshal(amqp_body.ContentBody(body), self.number)
        self.write(publish_method(self.number, b"", key.encode(), mandatory=True) + header + parts)


async def test_the_transport_factory_gives_the_reader_and_the_writer(vhost_url: str) -> None:
    handed: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    class Factory(TransportFactory):
        async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            assert isinstance(url, URL)
            handed.append(await asyncio.open_connection(url.host, url.port))
            return handed[-1]

    connection = await aiormq.connect(vhost_url, transport_factory=Factory())
    reader, writer = handed[0]
    assert reader is not None
    await soon(connection.close())
    assert writer.is_closing()
    assert len(handed) == 1


async def test_aio_pikas_connection_passes_the_transport_factory_on(vhost_url: str) -> None:
    address = URL(vhost_url)
    assert address.host is not None
    assert address.port is not None
    factory = await MultiplexerFactory.connect(address.host, address.port, None)
    connection = aio_pika.Connection(address)
    connection.kwargs["transport_factory"] = factory
    await soon(connection.connect())
    assert connection.transport is not None
    assert isinstance(connection.transport.connection, aiormq.Connection)
    assert factory.multiplexer.last_received > 0
    await soon(connection.close())


async def test_the_tuned_frame_size_is_known(tapped: tuple[aiormq.Connection, MultiplexerFactory]) -> None:
    frame_max = tapped[0].connection_tune.frame_max
    assert isinstance(frame_max, int)
    assert frame_max >= 4096


async def test_channels_are_numbered_and_numbers_come_back_after_the_close(
    tapped: tuple[aiormq.Connection, MultiplexerFactory],
) -> None:
    connection, _ = tapped
    channels = [await connection.channel(publisher_confirms=False) for _ in range(3)]
    numbers = [channel.number for channel in channels]
    assert len(set(numbers)) == 3
    assert all(0 < number <= 65535 for number in numbers)
    await soon(channels[1].close())
    assert channels[1].is_closed
    assert not channels[0].is_closed
    seen = set()
    for _ in range(20):
        channel = await connection.channel(publisher_confirms=False)
        seen.add(channel.number)
        await soon(channel.close())
    assert max(seen) <= max(numbers) + 1  # else reconnecting consumers would use up the numbers
    assert connection.is_opened


async def test_confirms_are_switched_on_by_the_argument_and_all_go_to_the_fast_channel(
    tapped: tuple[aiormq.Connection, MultiplexerFactory],
) -> None:
    connection, factory = tapped
    channel = await connection.channel(publisher_confirms=True)
    lane = _Lane(factory, channel.number)
    for tag in (1, 2):
        lane.publish("nobody", b"x")
        assert await soon(lane.heard.get()) == ("returned", 312)
        assert await soon(lane.heard.get()) == ("confirmed", tag, True)
    assert not channel.is_closed


async def test_deliveries_on_a_fast_channel_never_reach_the_callback(
    tapped: tuple[aiormq.Connection, MultiplexerFactory],
) -> None:
    connection, factory = tapped
    channel = await connection.channel(publisher_confirms=False)
    called: list[DeliveredMessage] = []

    async def callback(message: DeliveredMessage) -> None:
        called.append(message)

    queue = (await channel.queue_declare("", exclusive=True)).queue
    assert queue is not None
    lane = _Lane(factory, channel.number)
    consuming = await channel.basic_consume(queue, callback, no_ack=True)
    assert consuming.consumer_tag
    for number in range(10):
        lane.publish(queue, b"%d" % number)
    assert [(await soon(lane.heard.get()))[2] for _ in range(10)] == [b"%d" % number for number in range(10)]
    await soon(channel.basic_cancel(consuming.consumer_tag))
    assert called == []


async def test_aiormq_answers_channel_close_itself_and_the_connection_stands(
    tapped: tuple[aiormq.Connection, MultiplexerFactory],
) -> None:
    connection, factory = tapped
    for _ in range(3):
        channel = await connection.channel(publisher_confirms=False)
        lane = _Lane(factory, channel.number)
        lane.publish("nobody", b"x")
        lane.write(publish_method(lane.number, b"no such exchange", b"", mandatory=False))
        lane.write(
            pamqp.frame.marshal(amqp_header.ContentHeader(0, 0, spec.Basic.Properties()), lane.number)
        )  # the broker closes the channel
        await soon(lane.heard.get())
        kind, text = await soon(lane.heard.get())
        assert kind == "closed"
        assert "404" in text
        await soon(asyncio.wait((channel.closing,)))
        assert channel.is_closed
    again = await connection.channel(publisher_confirms=False)
    assert (await again.queue_declare("", exclusive=True)).queue
    assert connection.is_opened


async def test_a_deleted_queue_cancels_and_the_channel_can_still_be_closed(
    tapped: tuple[aiormq.Connection, MultiplexerFactory],
) -> None:
    connection, factory = tapped
    channel = await connection.channel(publisher_confirms=False)
    lane = _Lane(factory, channel.number)
    queue = (await channel.queue_declare("", exclusive=True)).queue
    assert queue is not None

    async def callback(message: DeliveredMessage) -> None:
        raise AssertionError

    await channel.basic_consume(queue, callback)
    other = await connection.channel(publisher_confirms=False)
    await other.queue_delete(queue)
    assert await soon(lane.heard.get()) == ("cancelled",)
    await soon(channel.close())
    assert connection.is_opened


async def test_closing_a_dead_connection_returns(vhost_url: str) -> None:
    connection, factory = await _dial(vhost_url)
    channel = await connection.channel()
    factory.multiplexer._socket.abort()
    await soon(connection.close())
    await soon(channel.close())
    assert connection.is_closed
    assert channel.is_closed
    with pytest.raises((RuntimeError, aiormq.exceptions.AMQPError)):
        await connection.channel()


async def test_the_loss_of_the_connection_ends_operations_under_way() -> None:
    def script(peer: PeerConnection, channel: int, frame: Any) -> Any:
        return () if isinstance(frame, spec.Queue.Declare) else None

    async with Peer(script) as peer:
        connection, factory = await _dial(peer.url)
        channel = await connection.channel()
        declaring = asyncio.create_task(channel.queue_declare("q"))
        await until(lambda: any(isinstance(frame, spec.Queue.Declare) for _, frame in peer.connections[0].heard))
        factory.multiplexer._socket.abort()
        with pytest.raises((aiormq.exceptions.AMQPError, asyncio.CancelledError, ConnectionError)):
            await soon(declaring)
        await soon(connection.close())


async def test_a_refused_virtual_host_shows_in_the_close_that_the_tap_sees(amqp_url: str) -> None:
    address = URL(amqp_url).with_path("/no-such-vhost")
    assert address.host is not None
    assert address.port is not None
    factory = await MultiplexerFactory.connect(address.host, address.port, None)
    with pytest.raises(aiormq.exceptions.InvalidFrameError):  # not one that tells why: hence the tap's close_code
        await soon(aiormq.connect(address, transport_factory=factory))
    assert factory.multiplexer.close_code == 530
    assert "no-such-vhost" in factory.multiplexer.close_text


async def test_a_wrong_password_shows_in_the_close_that_the_tap_sees(amqp_url: str) -> None:
    address = URL(amqp_url).with_password("wrong")
    assert address.host is not None
    assert address.port is not None
    factory = await MultiplexerFactory.connect(address.host, address.port, None)
    with pytest.raises(aiormq.exceptions.AMQPError):
        await soon(aiormq.connect(address, transport_factory=factory))
    assert factory.multiplexer.close_code == 403


async def test_the_heartbeat_is_taken_from_the_url_and_sent() -> None:
    async with Peer() as peer:
        connection, _ = await _dial(peer.url, heartbeat="1")
        heard = peer.connections[0].heard
        tuned = next(frame for _, frame in heard if isinstance(frame, spec.Connection.TuneOk))
        assert tuned.heartbeat == 1
        assert connection.connection_tune.heartbeat == 1
        await until(lambda: sum(frame.name == "Heartbeat" for _, frame in heard) >= 2)
        await soon(connection.close())


async def test_a_silent_connection_is_given_up_by_aiormq_unless_heartbeats_arrive() -> None:
    """The reason why a tap passes on a heartbeat while only lanes receive."""
    async with Peer() as peer:
        silent, _ = await _dial(peer.url, heartbeat="1")
        fed, _ = await _dial(peer.url, heartbeat="1")
        until_dead = 3 * (1 + 1)
        started = asyncio.get_running_loop().time()
        while not silent.is_closed:
            assert asyncio.get_running_loop().time() - started < 30
            peer.connections[1].send(0, HEARTBEAT)
            await asyncio.sleep(0.25)
        assert asyncio.get_running_loop().time() - started > until_dead - 1
        assert fed.is_opened
        await soon(fed.close())


async def test_the_names_that_we_use() -> None:
    parameters = inspect.signature(aiormq.Connection.channel).parameters
    assert "publisher_confirms" in parameters
    parameters = inspect.signature(aiormq.Connection.__init__).parameters
    assert {"transport_factory", "client_properties"} <= parameters.keys()
    connection = aio_pika.Connection(URL("amqp://localhost/"))
    assert isinstance(connection.kwargs, dict)
    await soon(connection.close())  # one that was never connected
