"""The tree of errors, without those that programs declare."""

from __future__ import annotations

from typing import Any

__all__ = [
    "AccessDeniedError",
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
    "RunTimeoutError",
    "SerializationError",
    "StreamError",
    "WorkerCrashedError",
]


def _rebuild(cls: type[RabiBridgeError], args: tuple[Any, ...], state: dict[str, Any]) -> RabiBridgeError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class RabiBridgeError(Exception):
    """The root of the tree: ``except RabiBridgeError`` catches everything that this library raises on purpose.

    Attributes:
        received: if it has ended a stream, how many items its reader had got: complete, in order and each once.
            ``None``: it has ended no stream.
    """

    received: int | None = None

    def __init__(self, *args: object) -> None:
        """Store the message; not cooperative, because mixed-in bases have constructors of their own."""
        Exception.__init__(self, *args)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state, so that subclasses may have any constructor."""
        return _rebuild, (type(self), self.args, self.__dict__.copy())

    def __str__(self) -> str:
        """Return the message: some bases (KeyError, OSError) would format it differently."""
        return str(self.args[0]) if self.args else ""


class ConfigurationError(RabiBridgeError, ValueError):
    """A setting is missing or wrong, or contradicts what exists on the broker."""


class RegistrationError(RabiBridgeError, ValueError):
    """A function cannot be registered as a service: bad name, bad limits, or a name that is taken."""


class PluginError(RabiBridgeError):
    """A plug-in could not be loaded, or violated the contract of its hook."""


class SerializationError(RabiBridgeError, ValueError):
    """A value cannot be encoded, or received bytes are not what their content type says."""


class ContentRejectedError(RabiBridgeError):
    """Received bytes were refused before they were decoded: content type, size or signature.

    Attributes:
        executed: ``False``: the call was too large and did not run. ``None``: what was refused is the reply, or it is
            not known whether the call ran.
    """

    def __init__(self, message: str, *, executed: bool | None = None) -> None:
        """Store the message, and whether the call may have run."""
        self.executed = executed
        super().__init__(message)


class ConnectionLostError(RabiBridgeError, ConnectionError):
    """The connection to the broker was lost, or could not be established.

    Attributes:
        executed: ``False`` if nothing was sent, so that retrying is safe; ``None`` if the call was sent and it is
            unknown whether it ran.
        accepted: ``True`` if the broker had confirmed that the call is in its queue: a call made with
            ``persistent=True`` is not lost then and will run. ``False`` if it had not.
    """

    def __init__(self, message: str, *, executed: bool | None = None, accepted: bool = False) -> None:
        """Store the message; ``executed`` is ``False`` only if nothing left this process."""
        self.executed = executed
        self.accepted = accepted
        super().__init__(message)


class CallError(RabiBridgeError):
    """A call ended without a result.

    Attributes:
        func_name: the function that was called.
        correlation_id: the id of this call in logs and traces.
        executed: ``False``: it did not run, retrying is safe. ``None``: unknown. ``True``: it ran.
    """

    executed: bool | None = None

    def __init__(self, message: str, *, func_name: str = "", correlation_id: str = "") -> None:
        """Store the message and which call it was."""
        self.func_name = func_name
        self.correlation_id = correlation_id
        super().__init__(message)


class QueueFullError(CallError):
    """The queue of the service already holds ``queue_size`` calls: the call was refused and did not run.

    Attributes:
        retry_after: estimated time until the backlog that refused this call has been worked off, in seconds: the median
            time from sending to reply of the last calls of this service that this client sent while it was being
            refused (up to 16 calls of the last ten seconds). By Little's law that is the length of the backlog over the
            rate, no matter how many others call or serve it. It is not a promise: other callers may take the places
            that become free. ``None`` if no such call was answered recently, as at the first refusal.
        attempts: how often the call was sent; more than once with ``retry=``.
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
        """Store the hint, in seconds, and how often the call was sent."""
        super().__init__(message, func_name=func_name, correlation_id=correlation_id)
        self.retry_after = retry_after
        self.attempts = attempts


class NoRouteError(CallError, LookupError):
    """No server offers a service of that name and kind: the call was refused and did not run."""

    executed: bool | None = False


class AccessDeniedError(CallError, PermissionError):
    """The service is not for this caller: it does not allow the user of the call, or a policy refuses it.

    The call did not run, and its arguments were not looked at.
    """

    executed: bool | None = False


class CallTimeoutError(CallError, TimeoutError):
    """The timeout of the call has passed.

    Attributes:
        timeout: that timeout, in seconds.
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
        """Store the timeout, in seconds, and whether the call may have run."""
        super().__init__(message, func_name=func_name, correlation_id=correlation_id)
        self.timeout = timeout
        self.executed = executed


class RemoteExecutionError(CallError):
    """The function was called and raised an exception, or its result could not be sent back.

    Attributes:
        error_type: the qualified name of the exception, such as ``builtins.ZeroDivisionError``; empty if the worker did
            not say. The module is named as it would be imported, however the worker was started.
        error_types: that name and those of the base classes of the exception, such as ``builtins.ArithmeticError``;
            only ``error_type`` if the worker did not say more.
        error_message: its message. One of more than 1,024 bytes is cut and ends with ``[...]``.
        remote_traceback: the traceback on the worker, as text, with the whole message; of more than 65,536 characters
            the middle is left out. Empty if it could not be sent.
        code: the code of the :class:`ServiceError` that the function raised, if no class of that code is declared in
            this program, or the fields do not fit it; ``None`` for any other exception.
        fields: the fields of that error, by name.
    """

    executed: bool | None = True
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        func_name: str = "",
        correlation_id: str = "",
        error_type: str = "",
        error_message: str = "",
        remote_traceback: str = "",
        error_types: tuple[str, ...] = (),
        code: str | None = None,
        fields: dict[str, Any] | None = None,
    ) -> None:
        """Store what the worker reported about the failure."""
        super().__init__(message, func_name=func_name, correlation_id=correlation_id)
        self.error_type = error_type
        self.error_types = error_types
        self.error_message = error_message
        self.remote_traceback = remote_traceback
        self.code = code
        self._fields = {} if fields is None else fields

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of an error that the service declares as ServiceError; empty for any other."""
        found: dict[str, Any] | None = self.__dict__.get("_fields")  # None: they could not be read
        return {} if found is None else found


class InvalidArgumentsError(RemoteExecutionError):
    """The arguments do not fit the function's signature, or its validation rejected them: it did not run."""

    executed: bool | None = False


class RunTimeoutError(RemoteExecutionError, TimeoutError):
    """The function ran longer than the ``run_timeout`` of its service, and was stopped: it may have run in part.

    It is a limit that the service sets; the timeout of a caller ends its call with :class:`CallTimeoutError`.
    """

    executed: bool | None = None


class WorkerCrashedError(RemoteExecutionError):
    """The child process that ran the call has crashed or was killed: the function may have run in part.

    Only services with ``executor="process"`` raise it. The call is not run again by RabiBridge, as it may have caused
    the crash; the service itself goes on with a new child process.

    Attributes:
        exit_code: the exit code of the process: positive as given to ``os._exit``, negative for a signal, such as -11
            for SIGSEGV, or -9 for SIGKILL, which the kernel sends when memory runs out. ``None``: it is not known.
    """

    executed: bool | None = None

    def __init__(self, message: str, *, exit_code: int | None = None, **fields: Any) -> None:
        """Store the exit code, and what :class:`RemoteExecutionError` has."""
        self.exit_code = exit_code
        super().__init__(message, **fields)


class StreamError(CallError):
    """A stream or an upload ended before its end, and there is no more exact error for it.

    A message is missing, came twice or out of order; its worker or connection was lost in the middle, and the service
    is not resumable; or, in a function that reads an upload, its caller has given up.

    Attributes:
        received: how many items came before: those are complete and in order.
    """

    def __init__(
        self,
        message: str,
        *,
        func_name: str = "",
        correlation_id: str = "",
        received: int = 0,
        executed: bool | None = None,
    ) -> None:
        """Store the number of items, and whether the function ran."""
        super().__init__(message, func_name=func_name, correlation_id=correlation_id)
        self.received = received
        self.executed = executed
