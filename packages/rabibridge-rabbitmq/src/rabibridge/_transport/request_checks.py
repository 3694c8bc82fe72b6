"""Refuses requests for which the broker would close the channel or the connection, before they are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge._amqp.headers import ROUTING_HEADERS
from rabibridge_core._protocol.broker_texts import too_large
from rabibridge_core.errors import ConfigurationError, ContentRejectedError

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers

__all__ = ["check_headers", "check_size"]

_ADDED_ON_REDELIVERY = 2048
"""Bytes that a worker may add to the headers of a request when it counts a redelivery or dead-letters the request."""


def check_headers(headers: Headers, size: int, max_payload: int) -> None:
    """Check the headers of a call.

    Args:
        headers: those that the user gave.
        size: that of all properties and headers together, in bytes.
        max_payload: maximum payload of one frame, in bytes.

    Raises:
        ConfigurationError: they are too large together, or one of them has a meaning for RabbitMQ.
    """
    if size > max_payload - _ADDED_ON_REDELIVERY:
        raise ConfigurationError(
            f"the headers of a call take {size} bytes; at most {max_payload - _ADDED_ON_REDELIVERY} fit into a frame "
            "of this connection: send large values as arguments"
        )
    for name in ROUTING_HEADERS & headers.keys():
        raise ConfigurationError(
            f"the header {name!r} cannot be sent: RabbitMQ takes it for further routing keys; use another name"
        )


def check_size(size: int, limit: int | None) -> None:
    """Check the size of a body, in bytes; ``limit`` is what the broker accepts, ``None`` if that is not known.

    Raises:
        ContentRejectedError: it is too large.
    """
    if limit is not None and size > limit:
        raise ContentRejectedError(too_large("the request", size, limit), executed=False)
