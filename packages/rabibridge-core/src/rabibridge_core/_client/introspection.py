"""What a client finds out about workers and services: asked of the workers, and checked with the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._client.control import DEFAULT_TIMEOUT, ControlAsker
from rabibridge_core._client.merging import merged_services, queues_of, statuses_of
from rabibridge_core._client.queue_look import QueueLook
from rabibridge_core._client.timeouts import seconds_of
from rabibridge_core._protocol.control import ControlQuestion
from rabibridge_core._protocol.naming import check_service_name
from rabibridge_core.introspection.answers import DeafService, Pong, Workers
from rabibridge_core.introspection.reading import text, whole
from rabibridge_core.introspection.running import WorkerCalls

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    from rabibridge_core._client.client import Client
    from rabibridge_core._client.control import TimedAnswer
    from rabibridge_core.introspection.services import Services

__all__ = ["Introspection"]

_REMEMBERED = 4096
"""How many services are remembered, to find those whose workers do not answer."""


class Introspection:
    """Asks on behalf of one client, and remembers of which services it has heard."""

    def __init__(self, client: Client) -> None:
        """Ask over the connection of ``client``."""
        self.client = client
        self._asker = ControlAsker(client)
        self._services: dict[tuple[str, bool], None] = {}

    async def ping(self, worker: str | None, timeout: float | timedelta | None) -> tuple[Pong, ...]:
        """Ping all workers, or those of this name or id."""
        question = ControlQuestion("ping", worker=worker or "")
        answers, _ = await self._asker.ask(question, timeout)
        pongs = [
            Pong(
                worker=one.answer.worker,
                id=one.answer.id,
                host=text(one.answer.value.get("host"), 200),
                pid=whole(one.answer.value.get("pid")),
                version=text(one.answer.value.get("version"), 200),
                time=one.answer.time,
                seconds=one.seconds,
                clock_difference=one.clock_difference,
            )
            for one in answers
            if not one.answer.refused
        ]
        return tuple(sorted(pongs, key=lambda pong: (pong.worker, pong.id)))

    async def running_calls(
        self, worker: str | None, service: str | None, timeout: float | timedelta | None
    ) -> tuple[WorkerCalls, ...]:
        """Ask all workers, or those of this name or id, what they run now."""
        if service is not None:
            check_service_name(service)
        question = ControlQuestion("calls", worker=worker or "", service=service or "")
        seconds = DEFAULT_TIMEOUT if timeout is None else seconds_of(timeout)
        if worker is None:  # who is busy, and has child processes to ask, answers long after the others
            answers, took = await self._asker.ask(ControlQuestion("ping"), seconds)
            if not answers or took >= seconds:
                return ()
            seconds -= took
        answers, _ = await self._asker.ask(question, seconds)
        told = [
            WorkerCalls.from_json(one.value, one.worker, one.id, one.refused) for one in (a.answer for a in answers)
        ]
        return tuple(sorted(told, key=lambda one: (one.worker, one.id)))

    async def workers(self, timeout: float | timedelta | None, services: Sequence[str]) -> Workers:
        """Ask all workers how they are."""
        look = self._look_for(services)
        answers, seconds = await self._asker.ask(ControlQuestion("status"), timeout, look=look)
        await look.finish(answers)
        statuses = statuses_of(answers)
        self._remember(look)
        return Workers(
            tuple(sorted(statuses, key=lambda worker: (worker.name, worker.id))),
            tuple(
                DeafService(name, consumers, answered, waiting)
                for name, consumers, answered, waiting in look.deaf(statuses)
            ),
            seconds,
            _refusals(answers),
        )

    async def services(self, name: str | None, timeout: float | timedelta | None) -> Services:
        """Ask all workers what they serve."""
        if name is not None:
            check_service_name(name)
        look = self._look_for(() if name is None else (name,), only=name)
        question = ControlQuestion("services", service=name or "")
        answers, seconds = await self._asker.ask(question, timeout, look=look)
        await look.finish(answers)
        await look.look_at_rest(queues_of(answers))
        self._remember(look)
        return merged_services(answers, look, seconds, _refusals(answers), only=name)

    def _look_for(self, names: Iterable[str], only: str | None = None) -> QueueLook:
        wanted = dict.fromkeys((check_service_name(name), is_async) for name in names for is_async in (True, False))
        if only is None:
            wanted.update(self._services)
        return QueueLook(self.client, wanted)

    def _remember(self, look: QueueLook) -> None:
        for service in look.existing:
            self._services.pop(service, None)
            self._services[service] = None
        for service in look.missing:
            self._services.pop(service, None)
        while len(self._services) > _REMEMBERED:
            del self._services[next(iter(self._services))]


def _refusals(answers: Iterable[TimedAnswer]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((one.answer.worker, one.answer.refused) for one in answers if one.answer.refused))
