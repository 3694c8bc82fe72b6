"""What is known of one service, merged over all of its workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rabibridge_core.introspection.numbers import ServiceNumbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["QueueStatus", "ServiceStatus", "Services"]


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue of a service; a service has one, or one for each class of criticality.

    Attributes:
        name: its name on the broker.
        class_name: the class of criticality; empty: the service has no classes.
        size: how many calls may wait in it (``queue_size``); ``None``: no limit but that of a policy.
        waiting: how many wait in it; ``None``: the broker did not say, or there is no such queue.
        consumers: how many workers take calls from it; ``None`` as above.
    """

    name: str
    class_name: str = ""
    size: int | None = None
    waiting: int | None = None
    consumers: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "name": self.name,
            "class": self.class_name,
            "size": self.size,
            "waiting": self.waiting,
            "consumers": self.consumers,
        }


@dataclass(frozen=True, slots=True)
class ServiceStatus(ServiceNumbers):
    """One service, as all of its workers that have answered see it: what it is, and its numbers on all together.

    Attributes:
        signature: its parameters and result, such as ``(a: int, b: int = 0) -> int``.
        doc: the docstring of its function, at most 4,000 characters.
        schema: the JSON schema of its arguments, an object with a property for each parameter; ``None``: the
            annotations allow none.
        result_schema: the JSON schema of its result; ``None``: as above.
        parameters: its parameters in their order: ``name``, ``kind`` (``"positional-only"``, ``"either"``,
            ``"keyword-only"``, ``"args"``, ``"kwargs"``), and for the last two the ``schema`` of each value.
        errors: the errors that it raises on purpose: ``code``, and the JSON ``schema`` of the fields.
        limits: its limits by the names of ``register_call``: ``fetch_size`` (a number, or a text such as
            ``auto(1, 1024)``), ``queue_size``, ``timeout``, ``delivery``,
            ``idempotent``, ``redelivery_limit``, ``queue_type``, ``fetch_ahead``, ``validate``, ``streams``,
            ``resumable``, ``uploads``, ``executor``, ``raises`` (codes).
        queues: its queues; more than one if it has classes of criticality, the most important first.
        workers: the names of the workers that serve it and have answered.
        silent: how many workers take its calls and have not answered; ``None``: the broker does not tell.
        differing: whether workers describe it differently, as during a rolling update: what is here, apart from
            numbers, is what the latest started one says.
        problems: what is wrong, by name of the worker.
    """

    signature: str = ""
    doc: str = ""
    schema: Mapping[str, Any] | None = None
    result_schema: Mapping[str, Any] | None = None
    parameters: tuple[Mapping[str, Any], ...] = ()
    errors: tuple[Mapping[str, Any], ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    queues: tuple[QueueStatus, ...] = ()
    workers: tuple[str, ...] = ()
    silent: int | None = None
    differing: bool = False
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def waiting(self) -> int | None:
        """How many calls wait in all of its queues; ``None``: the broker did not say."""
        known = [queue.waiting for queue in self.queues if queue.waiting is not None]
        return sum(known) if known else None

    @property
    def consumers(self) -> int | None:
        """How many workers take its calls, as the broker says; ``None``: it did not say."""
        return max((queue.consumers for queue in self.queues if queue.consumers is not None), default=None)

    @property
    def size(self) -> int | None:
        """How many calls may wait in all of its queues; ``None``: one of them has no limit."""
        sizes = [queue.size for queue in self.queues]
        return None if None in sizes or not sizes else sum(size for size in sizes if size is not None)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return ServiceNumbers.to_json(self) | {
            "signature": self.signature,
            "doc": self.doc,
            "schema": self.schema,
            "result_schema": self.result_schema,
            "parameters": [dict(parameter) for parameter in self.parameters],
            "errors": [dict(error) for error in self.errors],
            "limits": dict(self.limits),
            "queues": [queue.to_json() for queue in self.queues],
            "workers": list(self.workers),
            "silent": self.silent,
            "differing": self.differing,
            "waiting": self.waiting,
            "consumers": self.consumers,
            "size": self.size,
            "problems": dict(self.problems),
        }


@dataclass(frozen=True, slots=True)
class Services:
    """What ``client.services()`` returns: iterate over it for the services, sorted by name.

    Attributes:
        services: the services that a worker has described, and those without an answer that the client knows of: these
            have a name, queues and no workers.
        workers: how many workers have answered.
        seconds: how long was waited for answers.
        refused: answers that said no, as ``(worker, reason)``.
    """

    services: tuple[ServiceStatus, ...] = ()
    workers: int = 0
    seconds: float = 0.0
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def complete(self) -> bool:
        """Whether no worker is known that has not answered."""
        return not self.refused and not any(service.silent for service in self.services)

    def __iter__(self) -> Iterator[ServiceStatus]:
        """Iterate over the services."""
        return iter(self.services)

    def __len__(self) -> int:
        """Return how many services there are."""
        return len(self.services)

    def __getitem__(self, index: int) -> ServiceStatus:
        """Return one of the services."""
        return self.services[index]

    def get(self, name: str, kind: str | None = None) -> ServiceStatus | None:
        """Return the service of that name, of that kind if one is given; ``None``: there is none."""
        return next((one for one in self.services if one.name == name and kind in (None, one.kind)), None)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "services": [service.to_json() for service in self.services],
            "workers": self.workers,
            "complete": self.complete,
            "seconds": self.seconds,
            "refused": [list(refused) for refused in self.refused],
        }
