"""The plug-in that adds RabbitMQ, for URLs that begin with amqp:// or amqps://."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge._side_by_side import refuse_version_0

refuse_version_0()  # where its __init__ is in the place of ours

# ruff: noqa: E402
from rabibridge.settings import RABBITMQ
from rabibridge_core.plugins import hookimpl

if TYPE_CHECKING:
    from rabibridge_core.settings import Settings, TransportDeclaration
    from rabibridge_core.transport import Transport

__all__ = ["rabibridge_transport", "rabibridge_transport_settings"]


@hookimpl
def rabibridge_transport_settings() -> TransportDeclaration:
    """Declare how RabbitMQ is configured."""
    return RABBITMQ


@hookimpl
def rabibridge_transport(scheme: str, settings: Settings, name: str) -> Transport | None:
    """Make the RabbitMQ transport. aio-pika is imported here, on first use."""
    if scheme not in RABBITMQ.schemes:
        return None
    from rabibridge._transport.transport import RabbitMQTransport

    return RabbitMQTransport(settings, name)
