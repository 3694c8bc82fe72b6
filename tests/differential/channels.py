"""Takes from a client or a worker what it has on the broker, but not its connection: a channel, or the reply queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge._amqp.control_methods import method_frames
from rabibridge._amqp.frames import short_string
from rabibridge._amqp.methods import ack

if TYPE_CHECKING:
    from tests.differential.world import World

__all__ = ["channels_of", "close_channels", "delete_replies"]

_NO_TAG = 2**40
_DELETE_QUEUE = b"\x00\x32\x00\x28\x00\x00"
_NO_WAIT = b"\x04"


def channels_of(world: World, name: str, service: str) -> list[Any]:
    """Return the open channel of a client, or those of a worker for this service."""
    channels: list[Any] = []
    if name.startswith("client"):
        caller = _caller(world, name)
        channels = [] if caller is None else [caller._channel]
    elif (worker := world.workers.get(int(name[-1]))) is not None:
        for runner in worker.server._server.services.all_runners():
            if runner.schema.name == service and runner.consumer is not None:
                consumer: Any = runner.consumer
                channels += [consumer.channel, *consumer._retired]
    return [channel for channel in channels if channel is not None and channel.open]


def close_channels(channels: list[Any]) -> None:
    """Have RabbitMQ close channels with 406, for an acknowledgement of what it has not delivered."""
    for channel in channels:
        channel.write(ack(channel.number, _NO_TAG))
        channel.flush()


def delete_replies(world: World, name: str) -> bool:
    """Delete the queue in which the replies to a client arrive; return whether there is one.

    Only the connection that has declared an exclusive queue may delete it, apart from RabbitMQ itself.
    """
    caller = _caller(world, name)
    if caller is not None:
        channel = caller._channel
        deletion = _DELETE_QUEUE + short_string(channel.reply_to) + _NO_WAIT
        channel.write(method_frames(channel.number, [deletion]))
        channel.flush()
    return caller is not None


def _caller(world: World, name: str) -> Any:
    client = world.clients.get(int(name[-1]))
    return None if client is None else client._client.connected()
