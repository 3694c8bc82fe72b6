"""Checks of a broker over an open connection: what it is, its alarms and its clock."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiormq import exceptions as amqp
from pamqp.commands import Basic

from rabibridge._connection.error_translation import translated
from rabibridge._operations.clock_limits import CLOCK_ADVICE, SKEW_MAX
from rabibridge._operations.permissions import PermissionTrials
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.operations.errors import OperationError
from rabibridge_core.operations.findings import Finding, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiormq.abc import AbstractChannel

    from rabibridge._connection.session import Session

__all__ = ["broker_findings", "check_alarms", "check_clock"]

_NEEDED = ("publisher_confirms", "basic.nack", "consumer_cancel_notify", "connection.blocked")
_TESTED_FROM = (3, 10)
_LOOK_EVERY = 0.05


def broker_findings(properties: Mapping[str, Any]) -> list[Finding]:
    """Return what a broker says that it is.

    Args:
        properties: the server properties of its first method.
    """
    product, version = str(properties.get("product", "")), str(properties.get("version", ""))
    cluster = str(properties.get("cluster_name", ""))
    capabilities = properties.get("capabilities")
    missing = [name for name in _NEEDED if not (isinstance(capabilities, dict) and capabilities.get(name))]
    text = f"{product or 'unknown product'} {version}".rstrip() + (f", cluster {cluster}" if cluster else "")
    if missing:
        return [
            Finding(
                "broker",
                product or "unknown",
                Status.FAILURE,
                f"{text}: without {', '.join(missing)}",
                "RabbitMQ offers all of these; use one, of version 3.10 or later",
            )
        ]
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if product != "RabbitMQ" or numbers < _TESTED_FROM:
        return [
            Finding(
                "broker", product or "unknown", Status.WARNING, text, "RabiBridge is tested with RabbitMQ 3.10 to 4.3"
            )
        ]
    return [Finding("broker", product, Status.OK, text)]


async def check_alarms(session: Session, limit: float) -> Finding:
    """Find out whether the broker refuses messages because it is short of memory or disk space.

    It tells that to a connection which publishes, and then reads nothing more from it: so that connection is one of its
    own. What it publishes is in no queue.
    """
    blocked, tried = "", True
    try:
        async with asyncio.timeout(3 * limit):
            probe, exchange = await session.open_another("rabibridge doctor: alarms"), session.names.exchange
            try:
                trials = PermissionTrials(probe, limit)
                # The notice may come after the answer to the first message; the next operation is not answered then.
                tried = (await trials.publish("") and await trials.publish("")) or (
                    await trials.publish(exchange) and await trials.publish(exchange)
                )
            finally:
                blocked = probe.multiplexer.blocked or ""
                probe.fail(ConnectionLostError("the trial is over"))
    except OperationError:
        pass  # told by `blocked`
    except (ConfigurationError, ConnectionLostError, TimeoutError) as error:
        if not blocked:
            text = str(error) or f"no answer within {3 * limit:g} s"
            return Finding("alarm", "memory and disk", Status.WARNING, f"could not be checked: {text}")
    if blocked:
        free = "disk space" if "disk" in blocked else "memory"
        return Finding(
            "alarm",
            free,
            Status.FAILURE,
            f"the broker accepts no messages: {blocked}",
            f"free {free} on the broker's host, or let consumers empty its queues; rabbitmq-diagnostics alarms shows "
            "the limits",
        )
    if not tried:
        return Finding("alarm", "memory and disk", Status.WARNING, "could not be checked: this user may not publish")
    return Finding("alarm", "memory and disk", Status.OK, "none")


async def check_clock(session: Session, limit: float, clock: Callable[[], float] = time.time) -> Finding:
    """Compare the clock of this machine with that of the broker.

    AMQP has no question for it. But RabbitMQ notes the time, in whole seconds, in a message that it dead-letters: one
    expires at once in a queue that is deleted again.

    Args:
        session: a connection.
        limit: the time for it, in seconds.
        clock: the clock of this machine.
    """
    subject = "this machine and the broker"
    difference: float | None = None
    try:
        with translated("the time of the broker cannot be read"):
            async with session.timeout(limit), session.temporary_channel() as channel:
                difference = await _difference(channel, limit, clock)
    except (ConfigurationError, ConnectionLostError, amqp.AMQPError) as error:
        return Finding("clock", subject, Status.WARNING, f"could not be compared: {error}")
    if difference is None:
        return Finding("clock", subject, Status.WARNING, "could not be compared: the broker has noted no time")
    if abs(difference) <= SKEW_MAX:
        return Finding("clock", subject, Status.OK, "differ by less than 2 s")
    ahead = "behind" if difference > 0 else "ahead of"
    return Finding(
        "clock",
        subject,
        Status.WARNING,
        f"this machine is about {abs(difference):.0f} s {ahead} the broker",
        CLOCK_ADVICE,
    )


async def _difference(channel: AbstractChannel, limit: float, clock: Callable[[], float]) -> float | None:
    """Return how many seconds the broker is ahead; ``None``: it does not tell."""
    arrival = (await channel.queue_declare("", exclusive=True, auto_delete=True)).queue
    assert arrival is not None
    expiring: dict[str, Any] = {
        "x-message-ttl": 0,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": arrival,
    }
    departure = (await channel.queue_declare("", exclusive=True, auto_delete=True, arguments=expiring)).queue
    assert departure is not None
    before = clock()
    await channel.basic_publish(b"", routing_key=departure, properties=Basic.Properties(delivery_mode=1))
    for _ in range(max(1, int(limit / _LOOK_EVERY) - 1)):
        message = await channel.basic_get(arrival, no_ack=True)
        if message.delivery_tag is not None:
            after = clock()
            headers: dict[str, Any] = message.header.properties.headers or {}
            deaths = headers.get("x-death")
            at = deaths[0].get("time") if isinstance(deaths, list) and deaths else None
            return at.timestamp() + 0.5 - (before + after) / 2 if isinstance(at, datetime) else None
        await asyncio.sleep(_LOOK_EVERY)  # the broker has yet to notice that it is expired
    return None
