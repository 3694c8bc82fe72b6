"""RabiBridge: asynchronous RPC over RabbitMQ.

Everything that a program needs, under one short name: the classes of :mod:`rabibridge.mq`, ``register_call``,
``current_call``, and the errors. Apart from the classes, these are the objects of :mod:`rabibridge_core`, which plug-in
authors import. Each is imported when it is first used, so that the command starts quickly. What is not exported here or
from a public module belongs in a private package.
"""

from rabibridge._side_by_side import refuse_version_0

refuse_version_0()  # before anything else is imported: its files may be in the place of ours

# ruff: noqa: E402
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabibridge.mq import RMQBase, RMQClient, RMQServer
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
        KeyUnknownError,
        NoRouteError,
        PluginError,
        QueueFullError,
        RabiBridgeError,
        RegistrationError,
        RemoteExecutionError,
        ReplayMemoryFullError,
        RunTimeoutError,
        SerializationError,
        ServiceError,
        SignatureError,
        StreamError,
        WorkerCrashedError,
    )
    from rabibridge_core.rpc import (
        Broadcast,
        BroadcastReply,
        ClientView,
        ShardedClient,
        Stream,
        StreamStub,
        Stub,
        multiprocess_spawn_helper,
    )
    from rabibridge_core.transport import ConnectionState, Delivery, Headers, HeaderValue, QueueType

    __version__: str

__all__ = [
    "AccessDeniedError",
    "Broadcast",
    "BroadcastReply",
    "CallError",
    "CallLogFilter",
    "CallTimeoutError",
    "CircuitBreaker",
    "CircuitOpenError",
    "ClientView",
    "ConfigurationError",
    "ConnectionLostError",
    "ConnectionState",
    "ContentRejectedError",
    "CurrentCall",
    "DeadlineTooShortError",
    "DeadlockError",
    "Delivery",
    "Depends",
    "FunctionKind",
    "HeaderValue",
    "Headers",
    "Health",
    "Hedge",
    "InvalidArgumentsError",
    "KeyUnknownError",
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
    "ReplayMemoryFullError",
    "RetryBudget",
    "RetryRefused",
    "RunTimeoutError",
    "SerializationError",
    "ServiceError",
    "ServiceSchema",
    "ShardedClient",
    "SignatureError",
    "Stream",
    "StreamError",
    "StreamStub",
    "Stub",
    "WorkerCrashedError",
    "__version__",
    "auto",
    "current_call",
    "declare_call",
    "multiprocess_spawn_helper",
    "register_call",
    "request_scope",
    "service",
]

if not TYPE_CHECKING:  # for a type checker, every name would exist

    def __getattr__(name: str) -> object:
        if name in {"errors", "mq", "settings"}:
            value = import_module(f"{__name__}.{name}")
        elif name == "__version__":
            from importlib.metadata import version  # takes longer than everything else here

            value = version("rabibridge-rabbitmq")
        elif name in __all__:
            homes = ("rabibridge_core", "rabibridge_core.errors", "rabibridge_core.rpc", "rabibridge.mq")
            module = next(home for home in map(import_module, homes) if name in home.__all__)
            value = getattr(module, name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
