"""RabiBridge without a broker: what plug-in authors and authors of transports import.

Programs that use RabbitMQ import ``rabibridge``. The client and server for any transport are in
:mod:`rabibridge_core.rpc`; importing this package loads neither them nor the engines, and reads no settings.
What knows a broker belongs in the distribution of its transport, not here.
"""

from rabibridge_core._client.circuit import CircuitBreaker
from rabibridge_core._client.hedge import Hedge
from rabibridge_core._client.retry import RetryRefused
from rabibridge_core._client.retry_budget import RetryBudget
from rabibridge_core._observability.call_context import CurrentCall, current_call
from rabibridge_core._observability.call_log import CallLogFilter
from rabibridge_core._observability.health import Health
from rabibridge_core._observability.request_scope import request_scope
from rabibridge_core._protocol.naming import FunctionKind
from rabibridge_core._protocol.progress import Progress
from rabibridge_core._services.auto import auto
from rabibridge_core._services.declarations import declare_call
from rabibridge_core._services.depends import Depends
from rabibridge_core._services.interface import service
from rabibridge_core._services.registration import register_call
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import (
    AccessDeniedError,
    CallError,
    CallTimeoutError,
    CircuitOpenError,
    ConfigurationError,
    ConnectionLostError,
    ContentRejectedError,
    DeadlineTooShortError,
    DeadlockError,
    InvalidArgumentsError,
    NoRouteError,
    PluginError,
    QueueFullError,
    RabiBridgeError,
    RegistrationError,
    RemoteExecutionError,
    RunTimeoutError,
    SerializationError,
    ServiceError,
    WorkerCrashedError,
)
from rabibridge_core.plugins import hookimpl, plugin_manager
from rabibridge_core.transport import (
    Caller,
    CallerEvents,
    ConnectionState,
    Consumer,
    ConsumerEvents,
    Delivery,
    FeedRefusal,
    Headers,
    HeaderValue,
    IncomingBroadcast,
    IncomingRequest,
    QueueType,
    Refusal,
    Reply,
    Request,
    ServiceQueue,
    Transport,
)

__all__ = [
    "AccessDeniedError",
    "CallError",
    "CallLogFilter",
    "CallTimeoutError",
    "Caller",
    "CallerEvents",
    "CircuitBreaker",
    "CircuitOpenError",
    "ConfigurationError",
    "ConnectionLostError",
    "ConnectionState",
    "Consumer",
    "ConsumerEvents",
    "ContentRejectedError",
    "CurrentCall",
    "DeadlineTooShortError",
    "DeadlockError",
    "Delivery",
    "Depends",
    "FeedRefusal",
    "FunctionKind",
    "HeaderValue",
    "Headers",
    "Health",
    "Hedge",
    "IncomingBroadcast",
    "IncomingRequest",
    "InvalidArgumentsError",
    "NoRouteError",
    "PluginError",
    "Progress",
    "QueueFullError",
    "QueueType",
    "RabiBridgeError",
    "Refusal",
    "RegistrationError",
    "RemoteExecutionError",
    "Reply",
    "Request",
    "RetryBudget",
    "RetryRefused",
    "RunTimeoutError",
    "SerializationError",
    "ServiceError",
    "ServiceQueue",
    "ServiceSchema",
    "Transport",
    "WorkerCrashedError",
    "auto",
    "current_call",
    "declare_call",
    "hookimpl",
    "plugin_manager",
    "register_call",
    "request_scope",
    "service",
]
