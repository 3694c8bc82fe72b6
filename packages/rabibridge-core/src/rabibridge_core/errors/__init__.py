"""Every error that RabiBridge raises on purpose.

::

    RabiBridgeError
    ├─ ConfigurationError (ValueError)    settings are missing, contradictory, or refused by the broker
    ├─ RegistrationError (ValueError)     a function cannot become a service
    ├─ PluginError                        a plug-in is broken or answers what its hook does not allow
    ├─ SerializationError (ValueError)    a value cannot be encoded, or bytes cannot be decoded
    ├─ ContentRejectedError               content type not accepted, body too large
    │  └─ SignatureError                  not signed or encrypted as required, or changed on the way
    │     ├─ KeyUnknownError              its key is not known here
    │     └─ ReplayMemoryFullError        the worker can remember no more requests
    ├─ ConnectionLostError (ConnectionError)
    └─ CallError
       ├─ QueueFullError
       ├─ NoRouteError (LookupError)
       ├─ CircuitOpenError                the caller's circuit breaker is open; not sent
       ├─ AccessDeniedError (PermissionError)
       ├─ DeadlockError                   it could only wait for the calls that wait for it
       ├─ CallTimeoutError (TimeoutError)
       │  └─ DeadlineTooShortError        a worker did not run it, as it could not end in time
       ├─ StreamError                     a stream or an upload ended before its end
       └─ RemoteExecutionError
          ├─ InvalidArgumentsError
          ├─ RunTimeoutError (TimeoutError)  it ran longer than its service allows
          ├─ WorkerCrashedError           the child process that ran the call has crashed
          └─ ServiceError                  what services raise on purpose: programs declare subclasses

All of them can be pickled with their fields. A failure on the remote side is data: it is never rebuilt by importing the
class that was raised there. A :class:`ServiceError` is found by its code, among the classes that this program declares.
"""

from __future__ import annotations

from rabibridge_core.errors._admission import DeadlineTooShortError
from rabibridge_core.errors._circuits import CircuitOpenError
from rabibridge_core.errors._deadlocks import DeadlockError
from rabibridge_core.errors._declared import ServiceError
from rabibridge_core.errors._signatures import KeyUnknownError, ReplayMemoryFullError, SignatureError
from rabibridge_core.errors._tree import (
    AccessDeniedError,
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
    RunTimeoutError,
    SerializationError,
    StreamError,
    WorkerCrashedError,
)

__all__ = [
    "AccessDeniedError",
    "CallError",
    "CallTimeoutError",
    "CircuitOpenError",
    "ConfigurationError",
    "ConnectionLostError",
    "ContentRejectedError",
    "DeadlineTooShortError",
    "DeadlockError",
    "InvalidArgumentsError",
    "KeyUnknownError",
    "NoRouteError",
    "PluginError",
    "QueueFullError",
    "RabiBridgeError",
    "RegistrationError",
    "RemoteExecutionError",
    "ReplayMemoryFullError",
    "RunTimeoutError",
    "SerializationError",
    "ServiceError",
    "SignatureError",
    "StreamError",
    "WorkerCrashedError",
]

for _name in __all__:
    globals()[_name].__module__ = __name__  # where users find them, and the name that other processes are told
