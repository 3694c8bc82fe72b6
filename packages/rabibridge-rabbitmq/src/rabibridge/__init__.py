"""RabiBridge: asynchronous RPC over RabbitMQ.

The classes of :mod:`rabibridge.mq`, the decorator, the call that a function is answering, the state and health of a
connection and the errors, under one short name. All but the classes are the objects of :mod:`rabibridge_core`, which
plug-in authors import.
"""

from rabibridge.mq import RMQBase, RMQClient, RMQServer
from rabibridge_core._client.retry import RetryRefused
from rabibridge_core._observability.call_context import CurrentCall, current_call
from rabibridge_core._observability.health import Health
from rabibridge_core._services.registration import register_call
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import (
    CallError,
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    ContentRejectedError,
    InvalidArgumentsError,
    NoRouteError,
    PluginError,
    QueueFullError,
    RabiBridgeError,
    RegistrationError,
    RemoteExecutionError,
    SerializationError,
)
from rabibridge_core.transport import ConnectionState

__all__ = [
    "CallError",
    "CallTimeoutError",
    "ConfigurationError",
    "ConnectionLostError",
    "ConnectionState",
    "ContentRejectedError",
    "CurrentCall",
    "Health",
    "InvalidArgumentsError",
    "NoRouteError",
    "PluginError",
    "QueueFullError",
    "RMQBase",
    "RMQClient",
    "RMQServer",
    "RabiBridgeError",
    "RegistrationError",
    "RemoteExecutionError",
    "RetryRefused",
    "SerializationError",
    "ServiceSchema",
    "current_call",
    "register_call",
]
