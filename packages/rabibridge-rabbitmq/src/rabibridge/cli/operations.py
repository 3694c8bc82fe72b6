"""What the commands for operators share: the broker, what is done there, and the queues that a target serves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rabibridge.settings import RABBITMQ
from rabibridge_core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge_core.operations import Operator
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import ServiceQueue

__all__ = ["broker_settings", "operator_of", "queues_of"]


def broker_settings() -> Settings:
    """Return the settings, as a client gets them.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    return load_settings(transport_name=RABBITMQ.name)


def operator_of(settings: Settings) -> Operator:
    """Return what operators do on the broker of these settings.

    Raises:
        ConfigurationError: its transport offers nothing to operators.
    """
    from rabibridge_core.operations import OperationError
    from rabibridge_core.plugins import plugin_manager

    scheme = settings.endpoints[0].scheme if settings.endpoints else RABBITMQ.default_scheme
    if scheme in RABBITMQ.schemes:
        from rabibridge._operations.operator import RabbitMQOperator

        return RabbitMQOperator(settings)
    operator = plugin_manager().operator(scheme, settings)
    if operator is None:
        raise OperationError(f"the transport for {scheme}:// offers nothing to operators: this command is not for it")
    return operator


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
