"""RabiBridge: asynchronous RPC over RabbitMQ.

Everything that a program needs, under one short name: the classes of :mod:`rabibridge.mq`, ``register_call``,
``current_call``, and the errors. Apart from the classes, these are the objects of :mod:`rabibridge_core`, which plug-in
authors import. What is not exported here or from a public module belongs in a private package.
"""

from rabibridge._side_by_side import refuse_version_0

refuse_version_0()  # before anything else is imported: its files may be in the place of ours

# ruff: noqa: E402
from typing import TYPE_CHECKING

from rabibridge.mq import RMQBase, RMQClient, RMQServer
from rabibridge_core._client.retry import RetryRefused
from rabibridge_core._observability.call_context import CurrentCall, current_call
from rabibridge_core._observability.health import Health
from rabibridge_core._protocol.naming import FunctionKind
from rabibridge_core._protocol.progress import Progress
from rabibridge_core._services.depends import Depends
from rabibridge_core._services.interface import service
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
    ServiceError,
    StreamError,
    WorkerCrashedError,
)
from rabibridge_core.rpc import Broadcast, BroadcastReply, ClientView, Stream, StreamStub, Stub
from rabibridge_core.transport import ConnectionState, Delivery, Headers, HeaderValue, QueueType

__all__ = [
    "Broadcast",
    "BroadcastReply",
    "CallError",
    "CallTimeoutError",
    "ClientView",
    "ConfigurationError",
    "ConnectionLostError",
    "ConnectionState",
    "ContentRejectedError",
    "CurrentCall",
    "Delivery",
    "Depends",
    "FunctionKind",
    "HeaderValue",
    "Headers",
    "Health",
    "InvalidArgumentsError",
    "NoRouteError",
    "PluginError",
    "Progress",
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
    "ServiceError",
    "ServiceSchema",
    "Stream",
    "StreamError",
    "StreamStub",
    "Stub",
    "WorkerCrashedError",
    "__version__",
    "current_call",
    "register_call",
    "service",
]

if TYPE_CHECKING:
    __version__: str


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # importing it takes a fifth of the time that importing rabibridge takes

        return version("rabibridge-rabbitmq")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
