"""The exit statuses of the command: what a script can tell apart.

Those above 128 follow the shell: 128 and the number of the signal.
"""

from __future__ import annotations

from enum import IntEnum

from rabibridge_core.errors import (
    AccessDeniedError,
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
    RunTimeoutError,
    SerializationError,
    StreamError,
    WorkerCrashedError,
)

__all__ = ["ExitCode", "exit_code_of"]


class ExitCode(IntEnum):
    """What each exit status means."""

    OK = 0
    FAILED = 1
    """The function raised an exception; of other commands: what was asked for failed or a check found a failure."""
    USAGE = 2
    """The command line is wrong: nothing was done."""
    CONFIGURATION = 3
    """A setting is missing or wrong, or what is to be served cannot be loaded."""
    CONNECTION = 4
    """The broker cannot be reached, refuses the login, or the connection was lost."""
    QUEUE_FULL = 5
    """The queue of the service is full: the call did not run, and may be sent again later."""
    NO_ROUTE = 6
    """Nothing of that name is there: the call did not run."""
    TIMEOUT = 7
    """The timeout has passed: the call may have run."""
    INVALID_ARGUMENTS = 8
    """The arguments do not fit the function: it did not run."""
    VALUE = 9
    """A value cannot be encoded, decoded, or was refused for its size, type or signature."""
    INCOMPLETE = 10
    """A stream ended in the middle, or a worker crashed: the function may have run in part."""
    DENIED = 11
    """The service does not allow this user, or a policy refuses the call: it did not run."""
    INTERRUPTED = 130
    """Ctrl-C: a call that was in flight is cancelled."""
    BROKEN_PIPE = 141
    """Who reads the output has gone, as with ``| head``: a call that was in flight is cancelled."""


_CODES: tuple[tuple[type[RabiBridgeError], ExitCode], ...] = (
    (QueueFullError, ExitCode.QUEUE_FULL),
    (NoRouteError, ExitCode.NO_ROUTE),
    (AccessDeniedError, ExitCode.DENIED),
    (CallTimeoutError, ExitCode.TIMEOUT),
    (RunTimeoutError, ExitCode.TIMEOUT),
    (InvalidArgumentsError, ExitCode.INVALID_ARGUMENTS),
    (WorkerCrashedError, ExitCode.INCOMPLETE),
    (StreamError, ExitCode.INCOMPLETE),
    (ConnectionLostError, ExitCode.CONNECTION),
    (ConfigurationError, ExitCode.CONFIGURATION),
    (RegistrationError, ExitCode.CONFIGURATION),
    (PluginError, ExitCode.CONFIGURATION),
    (SerializationError, ExitCode.VALUE),
    (ContentRejectedError, ExitCode.VALUE),
)


def exit_code_of(error: RabiBridgeError) -> ExitCode:
    """Return the exit status for an error; 1 for those of functions, and for any that has none of its own."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)
