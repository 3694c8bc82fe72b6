"""RabiBridge: asynchronous RPC over RabbitMQ.

Everything that a program needs, under one short name: the classes of :mod:`rabibridge.mq`, ``register_call``,
``current_call``, and the errors. Apart from the classes, these are the objects of :mod:`rabibridge_core`, which plug-in
authors import. What is not exported here or from a public module belongs in a private package.
"""

from rabibridge.mq import RMQBase, RMQClient, RMQServer
from rabibridge_core._client.retry import RetryRefused
from rabibridge_core._observability.call_context import CurrentCall, current_call
from rabibridge_core._observability.health import Health
from rabibridge_core._protocol.naming import FunctionKind
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
from rabibridge_core.transport import ConnectionState, Delivery, Headers, HeaderValue, QueueType

__all__ = [
    "CallError",
    "CallTimeoutError",
    "ConfigurationError",
    "ConnectionLostError",
    "ConnectionState",
    "ContentRejectedError",
    "CurrentCall",
    "Delivery",
    "FunctionKind",
    "HeaderValue",
    "Headers",
    "Health",
    "InvalidArgumentsError",
    "NoRouteError",
    "PluginError",
    "QueueFullError",
    "QueueType",
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
