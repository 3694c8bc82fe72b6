"""Has RabbitMQ close one channel of a client or of a worker, whose connection it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge._amqp.methods import ack

if TYPE_CHECKING:
    from tests.differential.world import World

__all__ = ["close_channel"]

_NO_TAG = 2**40


def close_channel(world: World, name: str, service: str) -> bool:
    """Close the channel of a client, or that of a worker for this service; return whether there is one.

    The broker closes a channel with 406 for an acknowledgement of what it has not delivered, as it does when a request
    was not acknowledged for too long.
    """
    channels: list[Any] = []
    if name.startswith("client"):
        client = world.clients.get(int(name[-1]))
        channels = [] if client is None else [client._client.connected()._channel]  # type: ignore[attr-defined]
    elif (worker := world.workers.get(int(name[-1]))) is not None:
        for runner in worker.server._server.services.all_runners():
            if runner.schema.name == service and runner.consumer is not None:
                consumer: Any = runner.consumer
                channels += [consumer.channel, *consumer._retired]
    channels = [channel for channel in channels if channel is not None and channel.open]
    for channel in channels:
        channel.write(ack(channel.number, _NO_TAG))
        channel.flush()
    return bool(channels)
