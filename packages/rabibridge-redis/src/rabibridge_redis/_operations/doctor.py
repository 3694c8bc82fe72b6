"""Examines a set-up from the log-in to the dead letters. Each step has its time, and nothing is changed."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import hiredis

from rabibridge_core.errors import ConfigurationError, ConnectionLostError, RabiBridgeError
from rabibridge_core.operations import Finding, Status
from rabibridge_core.operations.wording import counted
from rabibridge_core.rpc import RpcClient
from rabibridge_redis._operations.queues import Queues
from rabibridge_redis._operations.server_checks import clock_finding, server_findings
from rabibridge_redis._operations.sessions import open_session
from rabibridge_redis._session.log_in import checked_settings

if TYPE_CHECKING:
    from rabibridge_core.operations import Examination, Report, Role
    from rabibridge_core.settings import Endpoint, Settings
    from rabibridge_core.transport import ServiceQueue
    from rabibridge_redis._session.session import Session

__all__ = ["examine"]

_PATIENCE = 2.0
_LOOPBACK = ("127.", "::1", "localhost")
_ADVICE = "`rabibridge permissions` prints what a user needs"


async def examine(settings: Settings, what: Examination, findings: Report) -> None:
    """Examine every host of the settings, and, through the first one that lets us in, what is on the server."""
    try:
        checked_settings(settings)
    except ConfigurationError as error:
        findings.append(Finding("configuration", "tls", Status.FAILURE, str(error)))
        return
    examined = False
    away: list[Finding] = []
    for endpoint in settings.endpoints:
        session = await _log_in(endpoint, replace(settings, connect_timeout=what.limit), findings, away)
        if session is None:
            continue
        try:
            if not examined:
                examined = True
                await _examine_server(session, settings, what, findings)
        except RabiBridgeError as error:
            text = f"the examination was interrupted: {error}"
            findings.append(Finding("login", str(endpoint), Status.FAILURE, text, "run it again"))
        finally:
            await session.close()
    for finding in away:  # one host of several that is away is no failure: the others are used
        findings.append(finding._replace(status=Status.WARNING) if examined else finding)
    if not examined:
        text = "nothing beyond this could be checked: there is no connection"
        findings.append(Finding("login", "", Status.FAILURE, text))


async def _log_in(endpoint: Endpoint, settings: Settings, findings: Report, away: list[Finding]) -> Session | None:
    try:
        session = await open_session(endpoint, settings, "doctor")
    except ConfigurationError as error:
        findings.append(Finding("login", str(endpoint), Status.FAILURE, str(error)))
        return None
    except ConnectionLostError as error:
        advice = "check the host and the port, and that the server runs: redis-cli ping"
        away.append(Finding("login", str(endpoint), Status.FAILURE, str(error), advice))
        return None
    at = session.endpoint
    user = f"user {at.username!r}" if at.username else "the default user"
    findings.append(Finding("login", str(at), Status.OK, f"{user}, database {at.virtualhost.strip('/') or 0}"))
    if at.ssl:
        findings.append(Finding("tls", at.host, Status.OK, "used"))
    elif at.host.startswith(_LOOPBACK):
        findings.append(Finding("tls", at.host, Status.OK, "not used, on this machine"))
    else:
        text = "not used: passwords and calls cross the network readable"
        findings.append(Finding("tls", at.host, Status.WARNING, text, "use rediss://, unless the network is encrypted"))
    return session


async def _examine_server(session: Session, settings: Settings, what: Examination, findings: Report) -> None:
    async with asyncio.timeout(8 * what.limit):
        findings.extend(await server_findings(session))
        findings.append(await clock_finding(session, what.clock))
        await _try_permissions(session, what.role, findings)
        await _check_workers(settings, what.limit, findings)
        for queue in what.queues:
            findings.append(await _queue_finding(session, queue))
        findings.append(await _letters_finding(session))


async def _try_permissions(session: Session, role: Role, findings: Report) -> None:
    """Try what a role needs with names that nobody uses."""
    name = f"doctor-{secrets.token_hex(8)}"
    queue = session.key("q", f"rpc_async_{name}")
    trials: list[tuple[str, tuple[str, ...]]] = [
        ("to send replies and messages", ("XADD", session.key("i", name), "NOMKSTREAM", "*", "m", "", "b", "")),
        ("to wake workers", ("PUBLISH", session.key("s", name), "")),
        ("to cancel calls", ("PUBLISH", session.channel("x", f"async_{name}"), "")),
        ("to queue calls", ("HDEL", queue, "none")),
    ]
    if role in ("server", "both", "operator"):
        trials += [
            ("to declare services", ("HDEL", session.key("r", f"async_{name}"), "none")),
            ("to take calls", ("XPENDING", f"{queue}:s", "g")),
            ("to keep dead letters", ("XDEL", session.prefix + "dead", "0-1")),
        ]
    if role == "operator":
        trials += [("to look at dead letters", ("XLEN", session.prefix + "dead"))]
    refused = False
    for doing, command in trials:
        try:
            await session.commands.ask(*command)
        except hiredis.ReplyError as error:
            if str(error).startswith("NOPERM"):
                refused = True
                findings.append(Finding("permission", doing, Status.FAILURE, str(error), _ADVICE))
    if not refused:
        findings.append(Finding("permission", role, Status.OK, "the user may do what it needs, as far as it was tried"))


async def _check_workers(settings: Settings, limit: float, findings: Report) -> None:
    try:
        async with asyncio.timeout(4 * limit):
            async with RpcClient(settings=replace(settings, connect_timeout=limit), name="doctor") as client:
                pongs = await client.ping(timeout=min(limit, _PATIENCE))
    except (RabiBridgeError, TimeoutError) as error:
        text = f"could not be asked: {error or f'no answer within {4 * limit:g} s'}"
        findings.append(Finding("workers", "", Status.WARNING, text))
    else:
        findings.append(Finding("workers", "", Status.OK, f"{len(pongs)} have answered"))


async def _queue_finding(session: Session, queue: ServiceQueue) -> Finding:
    try:
        state = await Queues(session).state_of(queue.name)
        limits = await session.commands.ask("HMGET", session.key("q", queue.name), "size", "ttl")
    except (ConfigurationError, hiredis.ReplyError) as error:
        return Finding("queue", queue.name, Status.FAILURE, str(error), _ADVICE)
    if state is None:
        return Finding("queue", queue.name, Status.OK, "does not exist yet: the first worker declares it")
    wanted = [repr(queue.queue_size), repr(queue.timeout)]
    if (known := [value.decode() for value in limits]) != wanted:
        text = f"has queue_size {known[0]} and timeout {known[1]}, and the service asks for {wanted[0]} and {wanted[1]}"
        advice = "stop its workers and delete the queue, or start one worker with --redeclare"
        return Finding("queue", queue.name, Status.FAILURE, text, advice)
    status = Status.OK if state.consumers else Status.WARNING
    text = f"{counted(state.waiting, 'call')} waiting, {counted(state.consumers, 'consumer')}"
    return Finding("queue", queue.name, status, text, "" if state.consumers else "no worker serves it: start one")


async def _letters_finding(session: Session) -> Finding:
    try:
        waiting = await session.commands.ask("XLEN", session.prefix + "dead")
    except hiredis.ReplyError as error:
        return Finding("dead letters", "", Status.WARNING, f"could not be counted: {error}", _ADVICE)
    if waiting:
        text = f"{counted(waiting, 'call')} that no worker could process"
        return Finding("dead letters", "", Status.WARNING, text, "rabibridge dead list shows them")
    return Finding("dead letters", "", Status.OK, "none")
