"""What workers and services tell, as the page shows it: bounded in number and in length, whatever they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rabibridge_core.introspection import FailureRecord, Services, ServiceStatus, Workers, WorkerStatus

__all__ = ["plotted", "state_of"]

_MAX_ROWS = 2000
"""Services, and workers, that the page lists."""
_MAX_ERRORS = 200
_MAX_NOTES = 20
_TEXT = 500
_TRACEBACK = 4000


def state_of(workers: Workers, services: Services, *, time: float, broker: str, allow_actions: bool) -> dict[str, Any]:
    """Return one state of everything.

    Args:
        workers: the answer of the workers.
        services: the answer about the services.
        time: when they were asked, in seconds since the epoch.
        broker: the broker as the page names it, without a password.
        allow_actions: whether the page may offer actions.
    """
    return {
        "time": time,
        "broker": broker,
        "problem": None,
        "actions": allow_actions,
        "services": [_service(one) for one in services.services[:_MAX_ROWS]],
        "workers": [_worker(one) for one in workers.workers[:_MAX_ROWS]],
        "errors": _errors(services)[:_MAX_ERRORS],
        "notes": list(_notes(workers, services))[:_MAX_NOTES],
    }


def plotted(state: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Return the figures of a state that are plotted, by service."""
    names = ("rate", "failing", "p50", "p99", "waiting", "inHand")
    return {service["id"]: {name: service[name] for name in names} for service in state["services"]}


def _service(one: ServiceStatus) -> dict[str, Any]:
    return {
        "id": f"{one.kind} {one.name}"[:_TEXT],
        "name": one.name[:_TEXT],
        "title": (one.name if one.kind == "async" else f"{one.name} ({one.kind})")[:_TEXT],
        "signature": one.signature[:_TEXT],
        "doc": one.doc[:_TRACEBACK],
        "workers": len(one.workers) + (one.silent or 0),
        "rate": one.rate,
        "rateLimit": one.rate_limit,
        "rateShare": one.rate_share,
        "rateWaiting": one.rate_waiting,
        "rateRefused": one.rate_refused,
        "failing": _failing(one),
        "refused": one.counts.refused + one.counts.expired,
        "p50": one.recent.p50,
        "p99": one.recent.p99,
        "inHand": one.in_hand,
        "places": one.concurrency or None,
        "waiting": one.waiting,
        "bound": one.size,
        "calls": one.counts.calls,
        "errors": one.counts.errors,
    }


def _failing(one: ServiceStatus) -> float:
    """Return an estimate until the collector knows the difference of two looks."""
    return 0.0 if not one.counts.calls else one.rate_1m * one.counts.errors / one.counts.calls


def _worker(one: WorkerStatus) -> dict[str, Any]:
    state = "draining" if one.draining else "ready" if one.ready else f"not ready: {'; '.join(one.reasons)}"
    return {
        "id": one.id,
        "name": one.name,
        "state": state[:_TEXT],
        "host": one.host,
        "pid": one.pid,
        "version": one.version,
        "uptime": one.uptime,
        "inHand": one.in_hand,
        "lag": one.loop_lag_max,
        "memory": one.memory,
        "cpu": one.cpu,
        "cpuSeconds": one.cpu_seconds,
        "services": len(one.services),
    }


def _errors(services: Iterable[ServiceStatus]) -> list[dict[str, Any]]:
    found = [_error(service.name, failure) for service in services for failure in service.failures]
    return sorted(found, key=lambda error: -error["time"])


def _error(service: str, failure: FailureRecord) -> dict[str, Any]:
    return {
        "service": service[:_TEXT],
        "worker": failure.worker[:_TEXT],
        "time": failure.last_at,
        "kind": failure.kind,
        "type": failure.type[:_TEXT],
        "message": failure.message[:_TEXT],
        "traceback": failure.traceback[:_TRACEBACK],
        "count": failure.count,
    }


def _notes(workers: Workers, services: Services) -> Iterator[str]:
    for deaf in workers.deaf:
        yield (
            f"{deaf.silent} of {deaf.consumers} workers of {deaf.name} take calls and do not answer: they stand still, "
            "run an older version, or have introspection switched off"
        )
    for worker, reason in workers.refused:
        yield f"{worker} does not tell: {reason}"
    for service in services:
        if service.differing:
            yield f"workers describe {service.name} differently, as during a rolling update"
        for worker, problem in service.problems.items():
            yield f"{service.name} on {worker}: {problem}"
        if not service.workers and not service.silent and service.waiting:
            yield f"{service.waiting} calls of {service.name} wait, and no worker serves it"
