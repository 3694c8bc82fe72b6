"""RabbitMQ as a plug-in of RabiBridge: URLs that begin with amqp:// and amqps://."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.plugins import hookimpl

if TYPE_CHECKING:
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Transport

__all__ = ["rabibridge_transport"]


@hookimpl
def rabibridge_transport(scheme: str, settings: Settings, name: str) -> Transport | None:
    """Make the RabbitMQ transport; aio-pika is loaded here, when first needed."""
    if scheme not in ("amqp", "amqps"):
        return None
    from rabibridge._transport.transport import RabbitMQTransport

    return RabbitMQTransport(settings, name)
