"""Where aiormq's exceptions become RabiBridge's errors: one table, at this edge."""

from __future__ import annotations

import asyncio
import shlex
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiormq import exceptions as amqp
from pamqp.exceptions import PAMQPException

from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_core.settings import Endpoint

__all__ = ["permission_error", "translated"]

# Refused for good: trying again cannot help. All others of aiormq's errors mean that the connection is lost.
_REFUSED: tuple[tuple[type[BaseException], str], ...] = (
    (amqp.ProbableAuthenticationError, "the broker refuses the username or the password"),
    (amqp.AuthenticationError, "the broker offers no way to log in that we know"),
    (amqp.ConnectionNotAllowed, "the broker does not allow it"),
    (amqp.IncompatibleProtocolError, "the other side does not speak AMQP 0-9-1"),
    (amqp.ChannelAccessRefused, "the user lacks a permission"),
    (amqp.ChannelNotFoundEntity, "it does not exist"),
    (amqp.ChannelLockedResource, "it belongs to another connection alone"),
    (amqp.ChannelPreconditionFailed, "it exists with other properties"),
)
_LOST: tuple[type[BaseException], ...] = (
    amqp.AMQPError,
    amqp.ChannelInvalidStateError,
    PAMQPException,
    OSError,
    EOFError,
    TimeoutError,
    # What aiormq and pamqp let out of a connection that closes, and for bytes that are not AMQP.
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    struct.error,
    StopAsyncIteration,  # aiormq's frame reader at the end of a stream that ends during log-in
)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what aiormq raises inside the block into RabiBridge's errors; ``what`` begins their message.

    Raises:
        ConfigurationError: the broker refuses, and would again.
        ConnectionLostError: anything else, also the CancelledError that aiormq raises for a dead connection.
    """
    try:
        yield
    except (ConnectionLostError, ConfigurationError):
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ConnectionLostError(f"{what}: the connection to the broker is gone", executed=False) from error
    except _LOST as error:
        for cls, meaning in _REFUSED:
            if isinstance(error, cls):
                raise ConfigurationError(f"{what}: {meaning}: {_text(error)}") from error
        raise ConnectionLostError(f"{what}: {_text(error)}", executed=False) from error


def _text(error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    return " ".join(str(argument) for argument in error.args) or type(error).__name__


def permission_error(endpoint: Endpoint, exchange: str, needed_for: str, cause: Exception) -> ConfigurationError:
    """Return the error that says which permission to write the user lacks, and how it is granted."""
    user, vhost = endpoint.username, endpoint.virtualhost
    error = ConfigurationError(
        f"the user {user!r} has no permission to write to the exchange {exchange!r} in the virtual host {vhost!r}, "
        f"which {needed_for} needs: {cause}. Whoever runs the broker grants it with: rabbitmqctl set_permissions "
        f"-p {shlex.quote(vhost)} {shlex.quote(user)} CONFIGURE WRITE READ, three patterns of which WRITE has to match "
        f"{exchange!r}"
    )
    error.__cause__ = cause
    return error
