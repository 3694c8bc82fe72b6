"""Translates the exceptions of aiormq into RabiBridge's errors, in one table."""

from __future__ import annotations

import asyncio
import shlex
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiormq import exceptions as amqp
from pamqp.exceptions import PAMQPException

from rabibridge._connection.broker_limits import broker_limit
from rabibridge._connection.channel_numbers import exceeds_user_limit
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_core.settings import Endpoint

__all__ = ["channel_error", "is_missing", "permission_error", "topic_error", "translated"]

# The broker refuses, and retrying cannot help. All other errors of aiormq mean that the connection is lost.
_REFUSED: tuple[tuple[type[BaseException], str], ...] = (
    (amqp.ProbableAuthenticationError, "the broker refuses the username or password"),
    (amqp.AuthenticationError, "the broker offers no supported authentication mechanism"),
    (amqp.ConnectionNotAllowed, "the broker does not allow the connection"),
    (amqp.IncompatibleProtocolError, "the server does not speak AMQP 0-9-1"),
    (amqp.ChannelAccessRefused, "the user lacks a permission"),
    (amqp.ChannelNotFoundEntity, "it does not exist"),
    (amqp.ChannelLockedResource, "it is exclusive to another connection"),
    (amqp.ChannelPreconditionFailed, "it exists with different properties"),
)
_BY_CODE: dict[int, type[amqp.AMQPChannelError]] = {
    403: amqp.ChannelAccessRefused,
    404: amqp.ChannelNotFoundEntity,
    405: amqp.ChannelLockedResource,
    406: amqp.ChannelPreconditionFailed,
}
_LOST: tuple[type[BaseException], ...] = (
    amqp.AMQPError,
    amqp.ChannelInvalidStateError,
    PAMQPException,
    OSError,
    EOFError,
    TimeoutError,
    # Raised by aiormq and pamqp while a connection closes, and for bytes that are not AMQP.
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    struct.error,
    StopAsyncIteration,  # raised by aiormq's frame reader if the stream ends during log-in
)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Translate exceptions that aiormq raises inside the block; messages start with ``what``.

    Raises:
        ConfigurationError: the broker refuses, and retrying cannot help.
        ConnectionLostError: for any other error, including the CancelledError that aiormq raises for a dead connection.
    """
    try:
        yield
    except (ConnectionLostError, ConfigurationError):
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ConnectionLostError(f"{what}: the connection to the broker is lost", executed=False) from error
    except _LOST as error:
        # Too many channels cost this connection only: the next one knows the limit, and opens no more.
        refused = () if exceeds_user_limit(_text(error)) else _REFUSED
        for cls, meaning in refused:
            if isinstance(error, cls):
                raise ConfigurationError(f"{what}: {_refusal(_text(error), meaning)}") from error
        raise ConnectionLostError(f"{what}: {_text(error)}", executed=False) from error
    except Exception as error:
        if type(error) is not Exception:
            raise
        # aiormq ends with a bare one what is under way when its connection ends without an error.
        raise ConnectionLostError(f"{what}: the connection to the broker is lost", executed=False) from error


def channel_error(code: int, text: str) -> amqp.AMQPError:
    """Return the exception that aiormq raises if the broker closes a channel with this reply code and text."""
    found = _BY_CODE.get(code)
    return found(text) if found is not None else amqp.ChannelClosed(code, text)


def _text(error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not error.args:
        return "timed out"
    if isinstance(error, StopAsyncIteration | EOFError) and not error.args:
        return "closed by the other side during log-in: it may be starting, or a proxy has no broker behind it"
    return " ".join(str(argument) for argument in error.args) or type(error).__name__


def _refusal(text: str, meaning: str) -> str:
    """Return the text of a refusal with what it means, or with what to do if it is due to a limit."""
    limit = broker_limit(text)
    return f"{meaning}: {text}" if limit is None else f"a limit of the broker is reached: {text}; {limit.remedy}"


def permission_error(endpoint: Endpoint, exchange: str, needed_for: str, cause: Exception) -> ConfigurationError:
    """Return an error that names the missing write permission and the command that grants it."""
    user, vhost = endpoint.username, endpoint.virtualhost
    error = ConfigurationError(
        f"the user {user!r} has no permission to write to the exchange {exchange!r} in the virtual host {vhost!r}, "
        f"which {needed_for} needs: {cause}. An administrator of the broker can grant it: rabbitmqctl set_permissions "
        f"-p {shlex.quote(vhost)} {shlex.quote(user)} CONFIGURE WRITE READ, three regular expressions of which WRITE "
        f"must match {exchange!r}"
    )
    error.__cause__ = cause
    return error


def topic_error(endpoint: Endpoint, exchange: str, key: str, cause: Exception) -> ConfigurationError:
    """Return an error that names the routing key that a user may not publish to, and the command that grants it."""
    user, vhost = endpoint.username, endpoint.virtualhost
    error = ConfigurationError(
        f"the user {user!r} may not publish to the exchange {exchange!r} with the routing key {key!r} in the virtual "
        f"host {vhost!r}: {cause}. An administrator of the broker can grant it: rabbitmqctl set_topic_permissions "
        f"-p {shlex.quote(vhost)} {shlex.quote(user)} {shlex.quote(exchange)} WRITE READ, two regular expressions of "
        f"which WRITE must match {key!r}"
    )
    error.__cause__ = cause
    return error


def is_missing(error: Exception) -> bool:
    """Return whether the broker reports that a queue or exchange does not exist."""
    return isinstance(error.__cause__, amqp.ChannelNotFoundEntity)
