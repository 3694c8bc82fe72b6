"""Exceptions by which the serving side tells itself why something did not run.

All but ``ProviderFailedError`` never leave the worker.
"""

from __future__ import annotations

from rabibridge_core.errors import ConfigurationError

__all__ = [
    "ArgumentsRefusedError",
    "InterruptedStartError",
    "NotStartedError",
    "ProviderFailedError",
    "TooLateError",
    "UnsendableItemError",
    "cause_of",
    "key_refused",
]


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
