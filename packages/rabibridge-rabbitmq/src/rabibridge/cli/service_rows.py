"""What tables say about services, for ``services`` and ``top``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rabibridge.cli.durations import milliseconds

if TYPE_CHECKING:
    from rabibridge_core.introspection import Latency, ServiceStatus

__all__ = ["ServiceRow", "found_limit", "rate_limit", "row_of"]


class ServiceRow(NamedTuple):
    """One service in a table.

    Attributes:
        name: its name.
        rate: calls that ended in one second, of late, and how many may start in one, as text.
        p50: the median of the last one or two minutes, as text.
        p99: the time that 99 % of those did not exceed.
        in_hand: what its workers have received and not answered.
        waiting: what waits in its queues, and how much may.
        refused: calls that did not run, such as those with arguments that do not fit.
        errors: calls that failed, took too long, or were dead-lettered.
        workers: how many have answered, and how many not.
    """

    name: str
    rate: str
    p50: str
    p99: str
    in_hand: int
    waiting: str
    refused: int
    errors: int
    workers: str


def row_of(service: ServiceStatus) -> ServiceRow:
    """Return the row of a service."""
    waiting = "-" if service.waiting is None else f"{service.waiting:,}"
    size = "" if service.size is None else f"/{service.size:,}"
    workers = str(len(service.workers)) + (f" +{service.silent} silent" if service.silent else "")
    return ServiceRow(
        service.name,
        f"{service.rate:,.1f}" + ("" if service.rate_limit is None else f"/{_per_second(service.rate_limit)}"),
        _percentile(service.recent, 50),
        _percentile(service.recent, 99),
        service.in_hand,
        waiting + size,
        service.counts.refused,
        service.counts.errors,
        workers,
    )


def found_limit(service: ServiceStatus) -> str:
    """Return how many calls may run now, if the workers find that out; else nothing."""
    if service.concurrency_max is None:
        return ""
    bounds = f"{service.concurrency_min or 0:,} to {service.concurrency_max:,}"
    no_load = service.no_load_latency
    latency = "" if no_load is None else f", {milliseconds(no_load)} without load"
    return f", {service.concurrency:,} may run ({bounds}{latency})"


def rate_limit(service: ServiceStatus) -> str:
    """Return how many calls may start in one second, and what comes of that; nothing if all may."""
    if service.rate_limit is None:
        return ""
    share = f"share {_per_second(service.rate_share or 0.0)}/s"
    outcome = f"{service.rate_waiting:,} wait for their turn, {service.rate_refused:,} refused"
    return f"rate: at most {_per_second(service.rate_limit)} calls/s start, {share} on these workers, {outcome}"


def _per_second(rate: float) -> str:
    return f"{rate:,.4g}" if rate < 1000 else f"{rate:,.0f}"


def _percentile(latency: Latency, percent: float) -> str:
    value = latency.percentile(percent)
    return "-" if value is None else milliseconds(value)
