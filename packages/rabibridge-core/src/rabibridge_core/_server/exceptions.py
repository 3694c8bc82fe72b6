"""Exceptions by which the serving side tells itself why something did not run.

All but ``ProviderFailedError`` never leave the worker.
"""

from __future__ import annotations

from rabibridge_core.errors import ConfigurationError, ConnectionLostError

__all__ = [
    "AdmissionRefusedError",
    "ArgumentsRefusedError",
    "InterruptedStartError",
    "NotStartedError",
    "ProviderFailedError",
    "TooLateError",
    "UnsendableItemError",
    "cause_of",
    "key_refused",
    "not_run_again",
    "stopped_early",
]


class AdmissionRefusedError(Exception):
    """A call that could run does not, and its handler was not called. ``__cause__`` is the error for its caller.

    Attributes:
        kind: why, as replies say it.
    """

    def __init__(self, kind: str) -> None:
        """Store why."""
        super().__init__(kind)
        self.kind = kind


class ArgumentsRefusedError(Exception):
    """The arguments do not fit the handler, which did not run. ``__cause__`` says why."""


class TooLateError(Exception):
    """The deadline passed, or the call was cancelled, before the handler started. It did not run."""


class NotStartedError(Exception):
    """The handler could not be started. It did not run. ``__cause__`` says why."""


class InterruptedStartError(Exception):
    """The server was stopped while it entered its lifespan or a provider. It never leaves the server."""


class ProviderFailedError(ConfigurationError):
    """A provider that lives as long as the process has raised ``__cause__``: the services that need it do not start."""


class UnsendableItemError(Exception):
    """An item of a stream cannot be encoded, or is too large. ``__cause__`` says why."""


def cause_of(error: BaseException) -> BaseException:
    """Return ``__cause__`` if there is one, else the error itself."""
    return error if error.__cause__ is None else error.__cause__


def key_refused(service: str) -> ArgumentsRefusedError:
    """Return the error of a call with an idempotency key to an at-most-once service."""
    error = ArgumentsRefusedError()
    error.__cause__ = ValueError(
        f"service {service!r} is at-most-once: an idempotent call may be sent again and could run twice; call it "
        "without idempotent=True and without idempotency_key"
    )
    return error


def not_run_again(service: str) -> ConnectionLostError:
    """Return the error of a redelivered call of an at-most-once service."""
    return ConnectionLostError(
        f"the worker that received this call of {service!r} is gone; the call may have run, and is not run again, "
        "because the service is at-most-once"
    )


def stopped_early(service: str, *, begun: bool) -> ConnectionLostError:
    """Return the error of a call that an at-most-once service has not done when its worker stops."""
    if begun:
        return ConnectionLostError(
            f"the worker stopped before this call of {service!r} was done; it may have run in part, and is not run "
            "again, because the service is at-most-once"
        )
    # Another worker could not tell: to it, every redelivered request may have been begun.
    return ConnectionLostError(f"the worker stopped before it began this call of {service!r}: it did not run")
