"""What one worker tells about itself: its process, its event loop, and the numbers of its services."""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from rabibridge_core._clock import monotonic
from rabibridge_core._reporting.error_text import printable
from rabibridge_core._server.access import Audiences
from rabibridge_core._server.adaptive_service import adaptive_limit_of
from rabibridge_core._server.descriptions import describe
from rabibridge_core._server.places import held_places
from rabibridge_core._server.running_calls import RunningCalls
from rabibridge_core.introspection import ServiceOnWorker, WorkerStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rabibridge_core._observability.health import Health
    from rabibridge_core._observability.loop_monitor import LoopMonitor
    from rabibridge_core._protocol.control import ControlQuestion
    from rabibridge_core._security.rules import Rules
    from rabibridge_core._server.running_services import RunningServices
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.introspection import FailureRecord

__all__ = ["WorkerReport"]

_CPU_INTERVAL = 9.0
_CPU_SAMPLES = 8
_PROBLEM_MAX = 500
_REASONS_MAX = 16
_WITHHELD = "calls of this worker are encrypted, so nobody is told why; its log says it"


class WorkerReport:
    """Collects what a worker tells. It implements :class:`~rabibridge_core._server.control.ControlSource`."""

    def __init__(
        self,
        name: str,
        services: RunningServices,
        health: Callable[[], Health],
        draining: Callable[[], bool],
    ) -> None:
        """Report about a server.

        Args:
            name: its name.
            services: its services.
            health: tells whether every service receives calls.
            draining: tells whether it finishes what it has in hand.
        """
        self.monitor: LoopMonitor | None = None
        """Knows how long the event loop takes to react, while the server runs."""
        self.rules: Rules | None = None
        """With which keys the transport signs and encrypts, whose ids are told; ``None``: it has none."""
        self._name = name
        self._services = services
        self._health = health
        self._draining = draining
        self._started_at, self._made = time.time(), monotonic()
        self._cpu: deque[tuple[float, float]] = deque([(self._made, time.process_time())], maxlen=_CPU_SAMPLES)
        self._audiences = Audiences(services.registry)
        self._described: dict[str, tuple[ServiceSchema, Mapping[str, Any]]] = {}

    @property
    def restricted(self) -> bool:
        """Whether it has services that not everybody may call."""
        return self._audiences.restricted

    async def hidden_from(self, user: str) -> frozenset[str]:
        """Return the services that a user may not call."""
        return await self._audiences.hidden_from(user)

    def pong(self) -> dict[str, Any]:
        """Return what tells that it is there."""
        return {"host": socket.gethostname(), "pid": os.getpid(), "version": own_version()}

    def status(self, service: str, hidden: frozenset[str]) -> dict[str, Any]:
        """Return its numbers, without what concerns hidden services."""
        health = self._health()
        withheld = {self._services.problem(name) for name in hidden}
        reasons = [reason for reason in health.reasons if reason not in withheld]
        runners = [
            self._on_worker(schema)
            for schema in self._services.registry
            if service in ("", schema.name) and schema.name not in hidden
        ]
        monitor, rules = self.monitor, self.rules
        status = WorkerStatus(
            id="",
            name=self._name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=own_version(),
            python=platform.python_version(),
            started_at=self._started_at,
            uptime=monotonic() - self._made,
            ready=health.ok,
            reasons=tuple(printable(reason[:_PROBLEM_MAX]) for reason in reasons[:_REASONS_MAX]),
            draining=self._draining(),
            connection=health.state.value,
            loop_lag=None if monitor is None else monitor.lag,
            loop_lag_max=None if monitor is None else monitor.longest_lag(),
            memory=resident_memory(),
            cpu_seconds=time.process_time(),
            cpu=self._cpu_share(),
            in_hand=sum(each.in_hand for each in runners) if hidden else self._services.active_requests,
            signing_key="" if rules is None else rules.signing_id,
            accepted_keys=() if rules is None else rules.ring.ids,
            encryption_key="" if rules is None else rules.encryption_id,
            services=tuple(runners),
        ).to_json()
        for of_asker in ("id", "time", "answered_in", "clock_difference"):
            del status[of_asker]
        return status

    def _on_worker(self, schema: ServiceSchema) -> ServiceOnWorker:
        runner = self._services.runners.get(schema.name)
        statistics = self._services.statistics_of(schema.name)
        problem = self._services.problem(schema.name)
        rate = None if runner is None else runner.processor.rate
        adaptive = adaptive_limit_of(runner)
        return ServiceOnWorker(
            name=schema.name,
            kind="async" if schema.is_async else "sync",
            live=runner is not None and runner.live,
            problem=printable(problem[:_PROBLEM_MAX]),
            in_hand=0 if runner is None else runner.active_requests,
            running=0 if runner is None else runner.running,
            concurrency=schema.concurrency if adaptive is None else adaptive.limit,
            counts=statistics.counts(0 if runner is None else runner.broadcasts.ended),
            rate=statistics.rate(),
            rate_1m=statistics.rate(long=True),
            latency=statistics.latency(),
            recent=statistics.recent(),
            failures=self._shown(statistics.failures),
            rate_limit=schema.rate,
            rate_share=None if rate is None else rate.share.rate,
            rate_waiting=0 if rate is None else len(rate.waiting),
            rate_refused=0 if rate is None else rate.refused,
            concurrency_min=None if adaptive is None else adaptive.minimum,
            concurrency_max=None if adaptive is None else adaptive.maximum,
            no_load_latency=None if adaptive is None else adaptive.no_load,
        )

    def _shown(self, failures: tuple[FailureRecord, ...]) -> tuple[FailureRecord, ...]:
        """Return failures without texts, which may quote arguments, if calls are encrypted: whoever asks shows them."""
        if self.rules is None or not (self.rules.encryption_id or self.rules.require_encryption):
            return failures
        return tuple(replace(one, message=_WITHHELD, traceback="") for one in failures)

    def _cpu_share(self) -> float | None:
        """Return which part of one processor was used since a sample of some seconds ago, and add a sample."""
        now, used = monotonic(), time.process_time()
        then, before = next((one for one in reversed(self._cpu) if now - one[0] >= _CPU_INTERVAL), self._cpu[0])
        if now - self._cpu[-1][0] >= _CPU_INTERVAL / 2:
            self._cpu.append((now, used))
        return (used - before) / (now - then) if now - then > 0.1 else None

    def descriptions(self, service: str, hidden: frozenset[str]) -> Callable[[], list[dict[str, Any]]]:
        """Return what tells what its services are, without hidden ones."""
        schemas = [
            schema for schema in self._services.registry if service in ("", schema.name) and schema.name not in hidden
        ]
        return lambda: [dict(self._description(schema)) for schema in schemas]

    def calls(self, service: str, hidden: frozenset[str]) -> Callable[[], dict[str, Any]]:
        """Return what tells which calls of a service run now, or of all, without those of hidden services."""
        runners = [one for one in self._services.all_runners() if service in ("", one.schema.name)]
        running = RunningCalls(runners, hidden=hidden)

        def told() -> dict[str, Any]:
            calls = [asdict(call) for call in running.complete()]
            return {"host": socket.gethostname(), "pid": os.getpid(), "count": running.count, "calls": calls}

        return told

    def places(self, question: ControlQuestion, hidden: frozenset[str]) -> dict[str, Any]:
        """Return how many places a service has here, and how many of them the named calls hold."""
        runner = None if question.service in hidden else self._services.runners.get(question.service)
        if runner is None or not runner.live:
            return {"places": 0, "held": 0}
        runs = [one.processor for one in self._services.all_runners() if one.schema.name == question.service]
        places, held = held_places(runner.schema, runs, question.criticality, question.holders)
        return {"places": places, "held": held}

    def _description(self, schema: ServiceSchema) -> Mapping[str, Any]:
        """Describe a service once, since that takes long; called in a thread."""
        found = self._described.get(schema.name)
        if found is not None and found[0] is schema:
            return found[1]
        if len(self._described) > 2 * len(self._services.registry) + 16:
            self._described.clear()
        description = describe(schema)
        self._described[schema.name] = (schema, description)
        return description


@cache
def own_version() -> str:
    """Return the version of RabiBridge; empty if it is not installed as a distribution."""
    from importlib.metadata import PackageNotFoundError, version  # takes long to import

    try:
        return version("rabibridge-core")
    except PackageNotFoundError:
        return ""


def resident_memory() -> int | None:
    """Return the resident memory of this process, in bytes; ``None`` where that is not known."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return _peak_memory()


def _peak_memory() -> int | None:
    """Return the largest memory that this process has had, where the present one is not known: on macOS, for one."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
