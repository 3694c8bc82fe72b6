"""Checks of the workers that answer: how many there are, and what their clocks say."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from aiormq import exceptions as amqp

from rabibridge._connection.error_translation import translated
from rabibridge._operations.clock_limits import CLOCK_ADVICE, SKEW_MAX
from rabibridge._operations.operator_session import connection_name
from rabibridge.mq import RMQClient
from rabibridge_core.errors import RabiBridgeError
from rabibridge_core.operations.findings import Finding, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge._connection.session import Session
    from rabibridge_core.introspection import WorkerStatus
    from rabibridge_core.settings import Settings

__all__ = ["check_workers", "key_findings"]

_PATIENCE = 2.0
_KEY_ADVICE = (
    "add it to the key ring of that worker; change signing_key_id anywhere only when all rings have the new key"
)


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
                workers = await client.workers(timeout=min(limit, _PATIENCE)) if pongs else ()
    except (RabiBridgeError, TimeoutError) as error:
        text = str(error) or f"no answer within {4 * limit:g} s"
        return [Finding("workers", "", Status.WARNING, f"could not be asked: {text}")]
    findings = [Finding("workers", "", Status.OK, f"{len(pongs)} have answered")]
    for pong in pongs:
        ahead = pong.clock_difference
        if abs(ahead) > SKEW_MAX + pong.seconds:
            text = f"is about {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine"
            findings.append(Finding("clock", f"{pong.worker} on {pong.host}", Status.WARNING, text, CLOCK_ADVICE))
    return findings + key_findings(tuple(workers), settings.signing_key_id, settings.encryption_key_id)


def key_findings(workers: Sequence[WorkerStatus], signing_key: str | None, encryption_key: str | None) -> list[Finding]:
    """Return a finding for each worker that does not accept a key which others use: a wrong order of changes.

    Args:
        workers: those that have answered.
        signing_key: the key with which this machine signs; ``None``: none.
        encryption_key: the key with which it encrypts; ``None``: none.
    """
    used: dict[str, str] = {}
    users = [("this machine", signing_key, encryption_key)]
    users += [(worker.name, worker.signing_key, worker.encryption_key) for worker in workers]
    for name, signs, encrypts in users:
        if signs:
            used.setdefault(signs, f"{name} signs")
        if encrypts:
            used.setdefault(encrypts, f"{name} encrypts")
    with_keys = [worker for worker in workers if worker.signing_key]  # others have none, or are of earlier versions
    findings = [
        Finding(
            "keys",
            f"{worker.name} on {worker.host}",
            Status.WARNING,
            f"does not accept the key {key_id!r}, with which {use}",
            _KEY_ADVICE,
        )
        for worker in with_keys
        for key_id, use in used.items()
        if key_id not in worker.accepted_keys
    ]
    if with_keys and not findings:
        findings.append(Finding("keys", "", Status.OK, f"all workers with keys accept {', '.join(used)}"))
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
