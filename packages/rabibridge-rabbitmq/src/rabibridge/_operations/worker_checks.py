"""Checks of the workers that answer: how many there are, and what their clocks say."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from aiormq import exceptions as amqp

from rabibridge._connection.error_translation import translated
from rabibridge._operations.clock_limits import CLOCK_ADVICE, SKEW_MAX
from rabibridge._operations.findings import Finding, Status
from rabibridge._operations.operator_session import connection_name
from rabibridge.mq import RMQClient
from rabibridge_core.errors import RabiBridgeError

if TYPE_CHECKING:
    from rabibridge._connection.session import Session
    from rabibridge_core.settings import Settings

__all__ = ["check_workers"]

_PATIENCE = 2.0


async def check_workers(session: Session, settings: Settings, limit: float) -> list[Finding]:
    """Ask all workers whether they are there.

    Args:
        session: a connection, on which is looked whether there ever was one. A client declares the exchange.
        settings: with the endpoints.
        limit: the time to connect, in seconds, and to wait for answers, if that is less than 2 s.
    """
    if not await _exchange_exists(session, limit):
        return [Finding("workers", "", Status.OK, "none has ever started on this virtual host")]
    try:
        async with asyncio.timeout(4 * limit):
            client = RMQClient(
                settings=replace(settings, connect_timeout=limit), name=connection_name("doctor: workers")
            )
            async with client:
                pongs = await client.ping(timeout=min(limit, _PATIENCE))
    except (RabiBridgeError, TimeoutError) as error:
        text = str(error) or f"no answer within {4 * limit:g} s"
        return [Finding("workers", "", Status.WARNING, f"could not be asked: {text}")]
    findings = [Finding("workers", "", Status.OK, f"{len(pongs)} have answered")]
    for pong in pongs:
        ahead = pong.clock_difference
        if abs(ahead) > SKEW_MAX + pong.seconds:
            text = f"is about {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine"
            findings.append(Finding("clock", f"{pong.worker} on {pong.host}", Status.WARNING, text, CLOCK_ADVICE))
    return findings


async def _exchange_exists(session: Session, limit: float) -> bool:
    with translated("cannot look at the exchange"):
        try:
            async with session.timeout(limit), session.temporary_channel() as channel:
                await channel.exchange_declare(session.names.exchange, passive=True)
        except amqp.ChannelNotFoundEntity:
            return False
        except amqp.ChannelAccessRefused:
            return True
    return True
