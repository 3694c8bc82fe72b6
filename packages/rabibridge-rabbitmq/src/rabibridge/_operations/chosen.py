"""What operators do on the broker that settings name, whatever its transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge._operations.operator import RabbitMQOperator
from rabibridge.settings import RABBITMQ
from rabibridge_core.operations import OperationError
from rabibridge_core.plugins import plugin_manager

if TYPE_CHECKING:
    from rabibridge_core.operations import Operator
    from rabibridge_core.settings import Settings

__all__ = ["operator_of"]


def operator_of(settings: Settings) -> Operator:
    """Return what operators do on the broker of these settings.

    Raises:
        OperationError: its transport offers nothing to operators.
    """
    scheme = settings.endpoints[0].scheme if settings.endpoints else RABBITMQ.default_scheme
    if scheme in RABBITMQ.schemes:
        return RabbitMQOperator(settings)
    operator = plugin_manager().operator(scheme, settings)
    if operator is None:
        raise OperationError(
            f"the transport for {scheme}:// has no operations for operators, such as those on queues and dead letters"
        )
    return operator
