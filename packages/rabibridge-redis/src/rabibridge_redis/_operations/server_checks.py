"""Checks of a server over an open connection: its version, memory, persistence and clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import hiredis

from rabibridge_core.operations import Finding, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rabibridge_redis._session.session import Session

__all__ = ["clock_finding", "server_findings"]

_TESTED_FROM = (7, 0)
_ALMOST_FULL = 0.9
_SKEW_MAX = 2.0


async def server_findings(session: Session) -> list[Finding]:
    """Return what the server says of itself, and what of that is a danger for calls."""
    try:
        text = await session.commands.ask("INFO")
    except hiredis.ReplyError as error:
        advice = "let the user run INFO: `rabibridge permissions operator` prints what it needs"
        return [Finding("broker", "", Status.WARNING, f"the server may not be asked about itself: {error}", advice)]
    lines = (text if isinstance(text, bytes) else bytes(text)).decode("utf-8", "replace").splitlines()
    info = dict(line.split(":", 1) for line in lines if ":" in line)
    return [_version(info), *_memory(info), *_persistence(info)]


def _version(info: dict[str, str]) -> Finding:
    product = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    text = (
        f"{product} {version}, {info.get('redis_mode', 'unknown mode')}, {info.get('connected_slaves', '0')} replicas"
    )
    if numbers < _TESTED_FROM:
        advice = "RabiBridge is tested with Redis 7.0 and later; earlier ones get no corrections any more"
        return Finding("broker", product, Status.WARNING, text, advice)
    return Finding("broker", product, Status.OK, text)


def _memory(info: dict[str, str]) -> Iterator[Finding]:
    policy, limit, used = info.get("maxmemory_policy", ""), int(info.get("maxmemory", 0)), int(info["used_memory"])
    if policy != "noeviction":
        yield Finding(
            "broker",
            "maxmemory-policy",
            Status.FAILURE if limit else Status.WARNING,
            f"is {policy}: when the memory is full, calls and queues vanish without an error",
            "set maxmemory-policy noeviction: then calls wait within their timeout instead",
        )
    share = used / limit if limit else 0.0
    text = f"{used / 2**20:.0f} MiB in use, {'no limit' if not limit else f'{share:.0%} of maxmemory'}"
    if share >= 1:
        advice = "calls wait until there is room: raise maxmemory, or delete what fills it"
        yield Finding("alarm", "memory", Status.FAILURE, text, advice)
    elif share > _ALMOST_FULL:
        yield Finding("alarm", "memory", Status.WARNING, text, "raise maxmemory, or find out what fills it")
    elif not limit:
        advice = "set maxmemory below what the machine has: otherwise the system may kill the server when it is full"
        yield Finding("alarm", "memory", Status.WARNING, text, advice)
    else:
        yield Finding("alarm", "memory", Status.OK, text)


def _persistence(info: dict[str, str]) -> Iterator[Finding]:
    if info.get("aof_enabled") != "1":
        yield Finding(
            "broker",
            "persistence",
            Status.WARNING,
            "there is no append-only file: calls that wait are lost when the server restarts",
            "set appendonly yes, unless callers may see their calls time out then",
        )
    elif info.get("aof_last_write_status", "ok") != "ok":
        advice = "free the disk: the server accepts nothing new until it can write"
        yield Finding("alarm", "disk", Status.FAILURE, "the append-only file cannot be written", advice)
    else:
        yield Finding("broker", "persistence", Status.OK, "append-only file")
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        advice = "free the disk, or set save '': with stop-writes-on-bgsave-error the server accepts nothing new"
        yield Finding("alarm", "disk", Status.FAILURE, "the last snapshot could not be written", advice)


async def clock_finding(session: Session, clock: Callable[[], float]) -> Finding:
    """Compare the clock of the server with that of this machine."""
    began = time.monotonic()
    try:
        seconds, microseconds = await session.commands.ask("TIME")
    except hiredis.ReplyError as error:
        return Finding("clock", "", Status.WARNING, f"the clock of the server could not be read: {error}")
    took = time.monotonic() - began
    ahead = int(seconds) + int(microseconds) / 1e6 - clock()
    if abs(ahead) > _SKEW_MAX + took:
        text = f"the server is about {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine"
        return Finding("clock", "", Status.WARNING, text, "synchronise both with NTP")
    return Finding("clock", "", Status.OK, "that of the server agrees with that of this machine")
