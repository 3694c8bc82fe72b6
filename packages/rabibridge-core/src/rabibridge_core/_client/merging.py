"""Makes one picture of the answers of all workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rabibridge_core._protocol.naming import queue_name
from rabibridge_core.introspection.calls import CallCounts
from rabibridge_core.introspection.latency import Latency
from rabibridge_core.introspection.reading import listed, optional_whole, text
from rabibridge_core.introspection.services import QueueStatus, Services, ServiceStatus
from rabibridge_core.introspection.workers import SERVICES_MAX, WorkerStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rabibridge_core._client.control import TimedAnswer
    from rabibridge_core.introspection.workers import ServiceOnWorker

__all__ = ["QueueStates", "merged_services", "queues_of", "statuses_of"]

N = TypeVar("N", int, float)

_FAILURES_MAX = 64
_CLASSES_MAX = 64
_PARAMETERS_MAX = 256
_ERRORS_MAX = 256
_TEXT_MAX = 4000


class QueueStates(Protocol):
    """What the broker has said about queues.

    Attributes:
        existing: the services of which there is a queue, as name and whether they are async.
    """

    existing: dict[tuple[str, bool], None]

    def state(self, queue: str) -> tuple[int, int] | None:
        """Return how many consumers and waiting requests a queue has; ``None``: that is not known."""
        ...


def statuses_of(answers: Iterable[TimedAnswer]) -> list[WorkerStatus]:
    """Return what the workers have said about themselves."""
    found = []
    for one in answers:
        value = one.answer.value.get("worker")
        if one.answer.refused or not isinstance(value, Mapping):
            continue
        status = WorkerStatus.from_json(
            {
                **value,
                "id": one.answer.id,
                "name": one.answer.worker,
                "time": one.answer.time,
                "answered_in": one.seconds,
                "clock_difference": one.clock_difference,
            }
        )
        if status is not None:
            found.append(status)
    return found


def _descriptions(answer: TimedAnswer) -> dict[tuple[str, str], Mapping[str, Any]]:
    services = answer.answer.value.get("services")
    if answer.answer.refused or not isinstance(services, list):
        return {}
    return {
        (name, "sync" if service.get("kind") == "sync" else "async"): service
        for service in services[:SERVICES_MAX]
        if isinstance(service, Mapping) and (name := text(service.get("name"), 200))
    }


def queues_of(answers: Iterable[TimedAnswer]) -> list[str]:
    """Return the names of all queues that workers have described."""
    return list(
        dict.fromkeys(
            queue.name
            for answer in answers
            for description in _descriptions(answer).values()
            for queue in listed(description.get("queues"), _queue, _CLASSES_MAX)
        )
    )


def _queue(value: object) -> QueueStatus | None:
    if not isinstance(value, Mapping) or not (name := text(value.get("name"), 255)):
        return None
    return QueueStatus(name, text(value.get("class"), 32), optional_whole(value.get("size")))


def merged_services(
    answers: Sequence[TimedAnswer],
    states: QueueStates,
    seconds: float,
    refused: tuple[tuple[str, str], ...],
    *,
    only: str | None = None,
) -> Services:
    """Return what all workers together have said about services.

    Args:
        answers: what they have said.
        states: what the broker says about the queues.
        seconds: how long was waited.
        refused: the workers that have not said anything, and why.
        only: the service that was asked about; ``None``: all.
    """
    statuses = {status.id: status for status in statuses_of(answers)}
    described: dict[tuple[str, str], list[tuple[WorkerStatus, Mapping[str, Any]]]] = {}
    for answer in answers:
        status = statuses.get(answer.answer.id)
        for key, description in _descriptions(answer).items() if status is not None else ():
            described.setdefault(key, []).append((status, description))  # type: ignore[arg-type]
    for name, is_async in states.existing:
        if only in (None, name):
            described.setdefault((name, "async" if is_async else "sync"), [])
    services = [_merged(name, kind, found, states) for (name, kind), found in sorted(described.items())]
    return Services(tuple(services), len(statuses), seconds, refused)


def _merged(
    name: str, kind: str, found: list[tuple[WorkerStatus, Mapping[str, Any]]], states: QueueStates
) -> ServiceStatus:
    found = sorted(found, key=lambda one: one[0].started_at)
    on_workers = [(worker, service) for worker, _ in found if (service := _service(worker, name, kind)) is not None]
    latest = found[-1][1] if found else {}
    queues = listed(latest.get("queues"), _queue, _CLASSES_MAX) or (
        QueueStatus(queue_name(name, is_async=kind == "async")),
    )
    queues = tuple(_with_state(queue, states.state(queue.name)) for queue in queues)
    consumers = max((queue.consumers for queue in queues if queue.consumers is not None), default=None)
    serving = sum(service.live for _, service in on_workers)
    schema, result_schema, limits = (latest.get(field) for field in ("schema", "result_schema", "limits"))
    failures = [failure for _, service in on_workers for failure in service.failures]
    return ServiceStatus(
        name=name,
        kind=kind,
        signature=text(latest.get("signature"), _TEXT_MAX),
        doc=text(latest.get("doc"), _TEXT_MAX),
        schema=schema if isinstance(schema, Mapping) else None,
        result_schema=result_schema if isinstance(result_schema, Mapping) else None,
        parameters=listed(latest.get("parameters"), _mapping, _PARAMETERS_MAX),
        errors=listed(latest.get("errors"), _mapping, _ERRORS_MAX),
        limits=limits if isinstance(limits, Mapping) else {},
        queues=queues,
        workers=tuple(sorted(worker.name for worker, _ in found)),
        silent=None if consumers is None else max(0, consumers - serving),
        differing=any(description != latest for _, description in found),
        in_hand=sum(service.in_hand for _, service in on_workers),
        running=sum(service.running for _, service in on_workers),
        concurrency=sum(service.concurrency for _, service in on_workers),
        counts=CallCounts.summed(service.counts for _, service in on_workers),
        rate=sum(service.rate for _, service in on_workers),
        rate_1m=sum(service.rate_1m for _, service in on_workers),
        latency=Latency.merged(service.latency for _, service in on_workers),
        recent=Latency.merged(service.recent for _, service in on_workers),
        failures=tuple(sorted(failures, key=lambda failure: -failure.last_at)[:_FAILURES_MAX]),
        concurrency_min=_sum(service.concurrency_min for _, service in on_workers),
        concurrency_max=_sum(service.concurrency_max for _, service in on_workers),
        no_load_latency=min(
            (service.no_load_latency for _, service in on_workers if service.no_load_latency is not None), default=None
        ),
        rate_limit=max((one.rate_limit for _, one in on_workers if one.rate_limit is not None), default=None),
        rate_share=_sum(service.rate_share for _, service in on_workers),
        rate_waiting=sum(service.rate_waiting for _, service in on_workers),
        rate_refused=sum(service.rate_refused for _, service in on_workers),
        problems={worker.name: service.problem for worker, service in on_workers if service.problem},
    )


def _sum(values: Iterable[N | None]) -> N | None:
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known else None


def _mapping(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None


def _service(worker: WorkerStatus, name: str, kind: str) -> ServiceOnWorker | None:
    return next((service for service in worker.services if (service.name, service.kind) == (name, kind)), None)


def _with_state(queue: QueueStatus, state: tuple[int, int] | None) -> QueueStatus:
    if state is None:
        return queue
    return QueueStatus(queue.name, queue.class_name, queue.size, waiting=state[1], consumers=state[0])
