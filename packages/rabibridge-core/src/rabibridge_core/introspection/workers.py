"""What one worker tells about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rabibridge_core.introspection.calls import CallCounts, FailureRecord
from rabibridge_core.introspection.latency import Latency
from rabibridge_core.introspection.numbers import ServiceNumbers
from rabibridge_core.introspection.reading import listed, number, optional_number, optional_whole, text, whole

__all__ = ["FAILURES_MAX", "SERVICES_MAX", "ServiceOnWorker", "WorkerStatus"]

SERVICES_MAX = 16_384
"""How many services of a worker are read."""
FAILURES_MAX = 16
"""How many failures of a service are read."""
_TEXT_MAX = 1000
_NAME_MAX = 200
_REASONS_MAX = 64
_KEYS_MAX = 256


@dataclass(frozen=True, slots=True)
class ServiceOnWorker(ServiceNumbers):
    """One service on one worker: beside its numbers, whether it works.

    Attributes:
        live: whether it receives calls now.
        problem: why it does not, or why it cannot run any; empty if nothing is wrong.
    """

    live: bool = True
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        # Not super(): a class with slots is made twice, and that of its methods is the first.
        own: dict[str, Any] = {"live": self.live, "problem": self.problem}
        return ServiceNumbers.to_json(self) | own

    @classmethod
    def from_json(cls, value: object, worker: str = "") -> ServiceOnWorker | None:
        """Make it again from JSON; ``None``: it cannot be read."""
        if not isinstance(value, Mapping) or not (name := text(value.get("name"), _NAME_MAX)):
            return None
        return cls(
            name=name,
            kind="sync" if value.get("kind") == "sync" else "async",
            live=value.get("live") is True,
            problem=text(value.get("problem"), _TEXT_MAX),
            rate_limit=optional_number(value.get("rate_limit")),
            rate_share=optional_number(value.get("rate_share")),
            rate_waiting=whole(value.get("rate_waiting")),
            rate_refused=whole(value.get("rate_refused")),
            in_hand=whole(value.get("in_hand")),
            running=whole(value.get("running")),
            concurrency=whole(value.get("concurrency")),
            counts=CallCounts.from_json(value.get("counts")),
            rate=number(value.get("rate")),
            rate_1m=number(value.get("rate_1m")),
            latency=Latency.from_json(value.get("latency")),
            recent=Latency.from_json(value.get("recent")),
            failures=listed(value.get("failures"), lambda one: FailureRecord.from_json(one, worker), FAILURES_MAX),
            concurrency_min=optional_whole(value.get("concurrency_min")),
            concurrency_max=optional_whole(value.get("concurrency_max")),
            no_load_latency=optional_number(value.get("no_load_latency")),
        )


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker: a server in some process, at the moment of its answer.

    Attributes:
        id: tells it apart from all others, also from one of the same name and from itself before a restart.
        name: the name of the server, such as ``RMQServer@host:4711``.
        host: the name of its machine.
        pid: the number of its process there.
        version: of RabiBridge.
        python: the version of Python, such as ``3.12.4``.
        started_at: when the server was made, in seconds since 1970 by the clock of the worker.
        uptime: how long ago that was, in seconds.
        ready: whether every service receives calls, as its ``health()`` says.
        reasons: why not; empty if nothing is wrong.
        draining: whether it is stopping, and finishes what it has in hand.
        connection: the state of its connection to the broker, such as ``ready``.
        loop_lag: how long its event loop took to react when that was last looked at, in seconds; ``None``: not known.
        loop_lag_max: the longest of the last minute.
        memory: the resident memory of its process, in bytes; ``None``: not known.
        cpu_seconds: the processor time that its process has used.
        cpu: which part of one processor it used over the last ten seconds or so: 1.0 is all of one.
        in_hand: how many calls of all services it has received and not answered.
        signing_key: the id of the key with which it signs; empty: it has no keys, or does not say.
        accepted_keys: the ids of the keys in its ring that are valid now.
        encryption_key: the id of the key with which it encrypts; empty: none.
        services: its services, by name.
        time: when it answered, in seconds since 1970 by its clock.
        answered_in: how long the answer took, in seconds.
        clock_difference: how far its clock is ahead of that of the asker, in seconds, at most half of
            ``answered_in`` off.
    """

    id: str
    name: str
    host: str = ""
    pid: int = 0
    version: str = ""
    python: str = ""
    started_at: float = 0.0
    uptime: float = 0.0
    ready: bool = False
    reasons: tuple[str, ...] = ()
    draining: bool = False
    connection: str = ""
    loop_lag: float | None = None
    loop_lag_max: float | None = None
    memory: int | None = None
    cpu_seconds: float = 0.0
    cpu: float | None = None
    in_hand: int = 0
    signing_key: str = ""
    accepted_keys: tuple[str, ...] = ()
    encryption_key: str = ""
    services: tuple[ServiceOnWorker, ...] = ()
    time: float = 0.0
    answered_in: float = 0.0
    clock_difference: float = 0.0

    @property
    def counts(self) -> CallCounts:
        """How many calls of all of its services have ended, and how."""
        return CallCounts.summed(service.counts for service in self.services)

    @property
    def rate(self) -> float:
        """Calls of all services that have ended in one second, over the last ten seconds or so."""
        return sum(service.rate for service in self.services)

    def service(self, name: str) -> ServiceOnWorker | None:
        """Return the service of that name; ``None``: it is not served here."""
        return next((service for service in self.services if service.name == name), None)

    def heard(self, answered_in: float, clock_difference: float) -> WorkerStatus:
        """Return it with what only the asker knows."""
        return replace(self, answered_in=answered_in, clock_difference=clock_difference)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "id": self.id,
            "name": self.name,
            "host": self.host,
            "pid": self.pid,
            "version": self.version,
            "python": self.python,
            "started_at": self.started_at,
            "uptime": self.uptime,
            "ready": self.ready,
            "reasons": list(self.reasons),
            "draining": self.draining,
            "connection": self.connection,
            "loop_lag": self.loop_lag,
            "loop_lag_max": self.loop_lag_max,
            "memory": self.memory,
            "cpu_seconds": self.cpu_seconds,
            "cpu": self.cpu,
            "in_hand": self.in_hand,
            "signing_key": self.signing_key,
            "accepted_keys": list(self.accepted_keys),
            "encryption_key": self.encryption_key,
            "services": [service.to_json() for service in self.services],
            "time": self.time,
            "answered_in": self.answered_in,
            "clock_difference": self.clock_difference,
        }

    @classmethod
    def from_json(cls, value: object) -> WorkerStatus | None:
        """Make it again from JSON; ``None``: it cannot be read."""
        if not isinstance(value, Mapping):
            return None
        worker_id, name = text(value.get("id"), _NAME_MAX), text(value.get("name"), _NAME_MAX)
        if not (worker_id and name):
            return None
        return cls(
            id=worker_id,
            name=name,
            host=text(value.get("host"), _NAME_MAX),
            pid=whole(value.get("pid")),
            version=text(value.get("version"), _NAME_MAX),
            python=text(value.get("python"), _NAME_MAX),
            started_at=number(value.get("started_at")),
            uptime=number(value.get("uptime")),
            ready=value.get("ready") is True,
            reasons=listed(value.get("reasons"), lambda one: text(one, _TEXT_MAX) or None, _REASONS_MAX),
            draining=value.get("draining") is True,
            connection=text(value.get("connection"), _NAME_MAX),
            loop_lag=optional_number(value.get("loop_lag")),
            loop_lag_max=optional_number(value.get("loop_lag_max")),
            memory=optional_whole(value.get("memory")),
            cpu_seconds=number(value.get("cpu_seconds")),
            cpu=optional_number(value.get("cpu")),
            in_hand=whole(value.get("in_hand")),
            signing_key=text(value.get("signing_key"), _NAME_MAX),
            accepted_keys=listed(value.get("accepted_keys"), lambda one: text(one, _NAME_MAX) or None, _KEYS_MAX),
            encryption_key=text(value.get("encryption_key"), _NAME_MAX),
            services=listed(value.get("services"), lambda one: ServiceOnWorker.from_json(one, name), SERVICES_MAX),
            time=number(value.get("time")),
            answered_in=number(value.get("answered_in")),
            clock_difference=number(value.get("clock_difference")),
        )
