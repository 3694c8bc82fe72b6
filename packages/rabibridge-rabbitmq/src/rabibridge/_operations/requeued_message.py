"""What a dead letter becomes when it is moved back to the queue of its service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge._amqp.durations import expiration_of, milliseconds
from rabibridge._amqp.field_tables import amended_properties, amended_table, encode_table
from rabibridge._amqp.frames import FrameError
from rabibridge._amqp.headers import (
    DEAD_AT_HEADER,
    DEAD_BY_HEADER,
    DEAD_QUEUE_HEADER,
    DEAD_REASON_HEADER,
    DEADLINE_HEADER,
    DEATHS_HEADER,
    DELIVERIES_HEADER,
    DELIVERY_COUNT_HEADER,
    TIMEOUT_HEADER,
    USER_HEADER,
)
from rabibridge_core._protocol.headers import RESENT
from rabibridge_core._security.signature import VOUCHED

if TYPE_CHECKING:
    from rabibridge._amqp.properties import Properties
    from rabibridge_core.operations.letters import DeadLetter
    from rabibridge_core.transport import Headers, HeaderValue

__all__ = ["requeued_properties"]

_DROPPED = tuple(
    name.encode()
    for name in (
        # How it died, so that what is counted begins at 0, and a second death is not mixed up with the first.
        DEAD_AT_HEADER, DEAD_BY_HEADER, DEAD_QUEUE_HEADER, DEAD_REASON_HEADER, DELIVERIES_HEADER, DELIVERY_COUNT_HEADER,
        "x-death", "x-acquired-count", "x-original-expiration", "x-expired-count",
        *(f"x-{which}-death-{what}" for which in ("first", "last") for what in ("reason", "queue", "exchange")),
        "CC", "BCC",  # would route it elsewhere, too
        USER_HEADER,  # is believed only in copies that workers make
        RESENT,  # would make an at-most-once service refuse what an operator has decided to run
    )
)  # fmt: skip


def requeued_properties(
    letter: DeadLetter,
    properties: Properties,
    *,
    timeout: float | None,
    now: float,
    user_id: bytes = b"",
    signed: Headers | None = None,
) -> tuple[int, bytes]:
    """Return flags and encoded properties of the message that takes the place of a dead letter.

    Everything that is not about its deadline or its death stays byte for byte as it is.

    Args:
        letter: the dead letter.
        properties: its properties as received.
        timeout: the time that it is given, in seconds; ``None``: what is left of its own.
        now: the time, in seconds since 1970.
        user_id: the user that vouches for it; empty: nobody does.
        signed: its headers with a new signature, if it was signed anew.

    Raises:
        FrameError: its properties are malformed.
    """
    added: dict[str, HeaderValue] = {**(signed or {}), DEATHS_HEADER: letter.deaths}
    expiration = b""
    dropped = _DROPPED if signed is None else (*_DROPPED, VOUCHED.encode())
    if timeout is not None:
        # Workers compare this header with others of the same caller, by whose clock ours is not.
        dropped += (DEADLINE_HEADER.encode(),)
        added[TIMEOUT_HEADER] = milliseconds(timeout)
        expiration = expiration_of(timeout)
    elif letter.deadline is not None:
        remaining = letter.deadline - now
        added[TIMEOUT_HEADER] = max(int(remaining * 1000), 1)
        expiration = expiration_of(max(remaining, 0.001))
    try:
        table = amended_table(properties.headers, dropped, added)
    except FrameError:  # no worker can read this table, so nothing is lost by replacing it
        table = encode_table(added)
    return amended_properties(properties.raw, table, expiration, user_id)
