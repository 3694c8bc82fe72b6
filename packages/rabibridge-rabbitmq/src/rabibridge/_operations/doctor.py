"""Examines a set-up from the host name to the dead letters. Each step has its time; what it declares, it deletes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from rabibridge._connection.dialer import Dialer
from rabibridge._connection.session import Session
from rabibridge._operations.broker_checks import broker_findings, check_alarms, check_clock
from rabibridge._operations.certificate_checks import client_certificate_findings
from rabibridge._operations.login_errors import login_finding
from rabibridge._operations.operator_session import connection_name
from rabibridge._operations.queue_checks import check_consumers, check_dead_letters, check_queue
from rabibridge._operations.reachability import reach
from rabibridge._operations.role_permissions import check_permissions
from rabibridge._operations.worker_checks import check_workers
from rabibridge.settings import rabbitmq_settings
from rabibridge_core.errors import ConfigurationError, ConnectionLostError, RabiBridgeError
from rabibridge_core.operations.findings import Finding, Report, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_core.operations.operator import Examination
    from rabibridge_core.settings import Settings
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["examine"]

_AWAY = ("dns", "tcp")
"""The checks that fail for a host that is down. What a host that is up refuses is wrong, whatever the others do."""


async def examine(settings: Settings, what: Examination, findings: Report) -> None:
    """Examine every host of the settings, and, through the first one that lets us in, what is on the broker."""
    examined = False
    away: list[tuple[Endpoint, Report]] = []
    findings.extend(client_certificate_findings(rabbitmq_settings(settings)))
    for endpoint in settings.endpoints:
        of_host = Report() if len(settings.endpoints) > 1 else findings
        session = await _log_in(endpoint, settings, what.limit, of_host)
        if session is None and of_host is not findings:
            away.append((endpoint, of_host))  # how bad that is depends on the other hosts
        if session is None:
            continue
        if of_host is not findings:
            findings.extend(of_host.findings)
        try:
            if not examined:
                await _examine_broker(session, settings, what, findings)
                examined = True
        finally:
            await session.close()
    for endpoint, of_host in away:
        findings.extend(_as_one_of_several(endpoint, of_host) if examined else of_host.findings)
    if not examined:
        findings.append(
            Finding("login", "", Status.FAILURE, "nothing beyond this could be checked: there is no connection")
        )


def _as_one_of_several(endpoint: Endpoint, of_host: Report) -> Iterator[Finding]:
    """Return the findings of a host that cannot be reached where another one can: clients and servers use that one."""
    for finding in of_host.findings:
        if finding.status is Status.FAILURE and finding.check in _AWAY:
            text = f"{finding.text}; until {endpoint.host} is back, the other hosts are used"
            yield finding._replace(status=Status.WARNING, text=text)
        else:
            yield finding


async def _log_in(endpoint: Endpoint, settings: Settings, limit: float, findings: Report) -> Session | None:
    peer = await reach(endpoint, rabbitmq_settings(settings), limit, findings)
    if peer is None or peer.start is None:
        return None
    findings.extend(broker_findings(peer.start.server_properties or {}))
    try:
        session = await Session.connect(
            endpoint, replace(settings, connect_timeout=limit), connection_name("doctor"), Dialer()
        )
    except (ConfigurationError, ConnectionLostError) as error:
        findings.append(login_finding(endpoint, error, str(peer.start.mechanisms or "")))
        return None
    user = f"user {endpoint.username!r}" if endpoint.username else "the user of the client certificate"
    text = f"{user}, virtual host {endpoint.virtualhost!r}"
    findings.append(Finding("login", str(endpoint), Status.OK, text))
    return session


async def _examine_broker(session: Session, settings: Settings, what: Examination, findings: Report) -> None:
    queues = [session.names.service_queue(queue) for queue in what.queues]
    names = [queue.name for queue in queues]
    watch = asyncio.create_task(_give_up_when_blocked(session))
    try:
        alarm = await check_alarms(session, what.limit)
        findings.append(alarm)
        accepts = alarm.status is not Status.FAILURE
        await check_permissions(session, what.role, queues, what.limit, findings, publishing=accepts)
        if accepts:
            findings.append(await check_clock(session, what.limit, what.clock))
            findings.extend(await check_workers(session, settings, what.limit))
        for queue in queues:
            findings.append(await check_queue(session, queue, what.limit))
        findings.extend(await check_consumers(session, names))
        findings.append(await check_dead_letters(session))
    except RabiBridgeError as error:
        findings.append(
            Finding(
                "login",
                str(session.endpoint),
                Status.FAILURE,
                f"the examination was interrupted: {error}",
                "run it again; look into the log of the broker",
            )
        )
    finally:
        watch.cancel()
        await asyncio.wait((watch,))


async def _give_up_when_blocked(session: Session) -> None:
    """Lose a connection from which the broker reads nothing more, instead of waiting until it does."""
    while session.error is None and session.multiplexer.blocked is None:
        await session.multiplexer.flow_changed()
    if session.multiplexer.blocked is not None:
        session.fail(ConnectionLostError(f"the broker accepts no messages now: {session.multiplexer.blocked}"))
