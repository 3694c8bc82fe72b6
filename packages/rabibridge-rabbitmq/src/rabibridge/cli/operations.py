"""What the commands for operators share: the broker, and the queues that a target serves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rabibridge.settings import RABBITMQ
from rabibridge_core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import ServiceQueue

__all__ = ["broker_settings", "queues_of"]


def broker_settings() -> Settings:
    """Return the settings, as a client gets them.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    return load_settings(transport_name=RABBITMQ.name)


def queues_of(targets: Sequence[str]) -> list[ServiceQueue]:
    """Return the queues of all services that these targets serve.

    Raises:
        ConfigurationError: a target cannot be loaded.
    """
    if not targets:
        return []
    from rabibridge.cli.targets import load_target
    from rabibridge.mq import RMQServer

    server = RMQServer()
    for target in targets:
        load_target(server, target)
    default = server.settings.queue_type
    schemas = [replace(schema, queue_type=schema.queue_type or default) for schema in server.services]
    return [queue for schema in schemas for queue in schema.queues]
