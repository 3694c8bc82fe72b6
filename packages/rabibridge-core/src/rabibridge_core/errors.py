"""Every error that RabiBridge raises on purpose.

::

    RabiBridgeError
    ├─ ConfigurationError (ValueError)    settings are missing, contradictory, or refused by the broker
    ├─ RegistrationError (ValueError)     a function cannot become a service
    ├─ PluginError                        a plug-in is broken or answers what its hook does not allow
    ├─ SerializationError (ValueError)    a value cannot be encoded, or bytes cannot be decoded
    ├─ ContentRejectedError               content type not accepted, body too large, bad signature
    ├─ ConnectionLostError (ConnectionError)
    └─ CallError
       ├─ QueueFullError
       ├─ NoRouteError (LookupError)
       ├─ CallTimeoutError (TimeoutError)
       └─ RemoteExecutionError
          └─ InvalidArgumentsError

All of them survive pickling with their fields. A failure on the other side is data: it is never rebuilt by importing
the class that was raised there.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CallError",
    "CallTimeoutError",
    "ConfigurationError",
    "ConnectionLostError",
    "ContentRejectedError",
    "InvalidArgumentsError",
    "NoRouteError",
    "PluginError",
    "QueueFullError",
    "RabiBridgeError",
    "RegistrationError",
    "RemoteExecutionError",
    "SerializationError",
]


def _rebuild(cls: type[RabiBridgeError], args: tuple[Any, ...], state: dict[str, Any]) -> RabiBridgeError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class RabiBridgeError(Exception):
    """The root of the tree: ``except RabiBridgeError`` catches whatever this library raises on purpose."""

    def __init__(self, *args: object) -> None:
        """Keep the message; not cooperative, because mixed-in bases have constructors of their own."""
        Exception.__init__(self, *args)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state, so that subclasses are free to have any constructor."""
        return _rebuild, (type(self), self.args, self.__dict__.copy())

    def __str__(self) -> str:
        """Return the message: some bases (KeyError, OSError) would format it their own way."""
        return str(self.args[0]) if self.args else ""


class ConfigurationError(RabiBridgeError, ValueError):
    """A setting is missing or wrong, or contradicts what the broker already has."""


class RegistrationError(RabiBridgeError, ValueError):
    """A function cannot be registered as a service: bad name, bad limits, or a name that is taken."""


class PluginError(RabiBridgeError):
    """A plug-in could not be loaded or broke the contract of its hook."""


class SerializationError(RabiBridgeError, ValueError):
    """A value cannot be encoded, or received bytes are not what their content type says."""


class ContentRejectedError(RabiBridgeError):
    """Received bytes were refused before they were decoded: content type, size or signature."""


class ConnectionLostError(RabiBridgeError, ConnectionError):
    """The connection to the broker is gone, or could not be made.

    Attributes:
        executed: ``False`` where nothing was sent, so that trying again is safe; ``None`` where the call was under way
            and nobody can tell whether it ran.
        accepted: ``True`` where the broker had confirmed that the call is in its queue: one made with
            ``persistent=True`` is not lost then and will run. ``False`` where it had not.
    """

    def __init__(self, message: str, *, executed: bool | None = None, accepted: bool = False) -> None:
        """Say what was lost; ``executed`` is ``False`` only where nothing left this process."""
        self.executed = executed
        self.accepted = accepted
        super().__init__(message)


class CallError(RabiBridgeError):
    """A call ended without a result.

    Attributes:
        func_name: the function that was called.
        correlation_id: the id of this call, as it stands in logs and traces.
        executed: ``False``: it did not run, trying again is safe. ``None``: unknown. ``True``: it ran.
    """

    executed: bool | None = None

    def __init__(self, message: str, *, func_name: str = "", correlation_id: str = "") -> None:
        """Keep the message and which call it was."""
        self.func_name = func_name
        self.correlation_id = correlation_id
        super().__init__(message)


class QueueFullError(CallError):
    """The queue of the service holds ``queue_size`` calls already: the call was refused and did not run.

    Attributes:
        retry_after: in how many seconds the backlog that refused this call will have been worked off, at the recent
            rate: the median time from sending to reply of the last calls of this service that this client sent while
            it was being refused, up to 16 of the last ten seconds. By Little's law that is what waits and runs, over
            the rate, whatever else calls or serves it. It is no promise: others may take the places that come free.
            ``None`` where no such call was answered lately, as at the first refusal.
        attempts: how often it was sent; more than once with ``retry=``.
    """

    executed: bool | None = False

    def __init__(
        self,
        message: str,
        *,
        func_name: str = "",
        correlation_id: str = "",
        retry_after: float | None = None,
        attempts: int = 1,
    ) -> None:
        """Keep the hint, in seconds, and how often the call was sent."""
        super().__init__(message, func_name=func_name, correlation_id=correlation_id)
        self.retry_after = retry_after
        self.attempts = attempts


class NoRouteError(CallError, LookupError):
    """Nobody offers a service of that name and kind: the call was refused and did not run."""

    executed: bool | None = False


class CallTimeoutError(CallError, TimeoutError):
    """The time given to the call is over.

    Attributes:
        timeout: the time that was given, in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        func_name: str = "",
        correlation_id: str = "",
        timeout: float = 0.0,
        executed: bool | None = None,
    ) -> None:
        """Keep the limit, in seconds, and whether the call can have run."""
        super().__init__(message, func_name=func_name, correlation_id=correlation_id)
        self.timeout = timeout
        self.executed = executed


class RemoteExecutionError(CallError):
    """The function was called and failed, or its result could not be sent back.

    Attributes:
        error_type: the qualified name of the exception raised there, such as ``builtins.ZeroDivisionError``; empty
            where the worker did not say.
        error_message: its message.
        remote_traceback: the traceback of the worker, as text.
    """

    executed: bool | None = True

    def __init__(
        self,
        message: str,
        *,
        func_name: str = "",
        correlation_id: str = "",
        error_type: str = "",
        error_message: str = "",
        remote_traceback: str = "",
    ) -> None:
        """Keep what the worker told of its failure, as text."""
        super().__init__(message, func_name=func_name, correlation_id=correlation_id)
        self.error_type = error_type
        self.error_message = error_message
        self.remote_traceback = remote_traceback


class InvalidArgumentsError(RemoteExecutionError):
    """The arguments do not fit the function's signature, or its validation refused them: it did not run."""

    executed: bool | None = False
