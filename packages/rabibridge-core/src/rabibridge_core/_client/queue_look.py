"""Looks at the queues of services, to find workers that take calls and have not answered a control request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._client.merging import statuses_of
from rabibridge_core._protocol.naming import queue_name
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rabibridge_core._client.client import Client
    from rabibridge_core._client.control import TimedAnswer
    from rabibridge_core.introspection.workers import WorkerStatus
    from rabibridge_core.transport import Caller

__all__ = ["QueueLook"]

_log = get_logger(__name__)
_QUEUES_MAX = 1024
"""How many queues are looked at for one question: the broker answers each look."""
_LAST_LOOK = 2.0
"""How long the last look may take when the time for answers is over, in seconds."""


class QueueLook:
    """What the broker says about the queues of services while one control request is under way.

    Attributes:
        existing: the services of which there is a queue, as name and whether they are async.
        missing: those of which there is none.
    """

    def __init__(self, client: Client, wanted: Iterable[tuple[str, bool]]) -> None:
        """Look at the queues of ``wanted`` services, besides those that workers name in their answers."""
        self.existing: dict[tuple[str, bool], None] = {}
        self.missing: set[tuple[str, bool]] = set()
        self._client = client
        self._wanted = dict.fromkeys(wanted)
        self._states: dict[str, tuple[int, int]] = {}
        self._looked = False

    async def __call__(self, caller: Caller, answers: list[TimedAnswer]) -> bool:
        """Look at all queues; tell whether no worker is known that has not answered."""
        statuses = statuses_of(answers)
        services = dict.fromkeys(
            (service.name, service.kind == "async") for status in statuses for service in status.services
        )
        services.update(self._wanted)
        chosen = list(services)[:_QUEUES_MAX]
        await self.look_at(caller, [queue_name(name, is_async=is_async) for name, is_async in chosen])
        self._looked = True
        for service in chosen:
            if self.state(queue_name(service[0], is_async=service[1])) is None:
                self.missing.add(service)
                self.existing.pop(service, None)
            else:
                self.existing[service] = None
                self.missing.discard(service)
        return not any(self.deaf(statuses))

    async def look_at(self, caller: Caller, queues: Iterable[str]) -> None:
        """Look at these queues, side by side."""
        await asyncio.gather(*(self._look(caller, queue) for queue in queues))

    async def _look(self, caller: Caller, queue: str) -> None:
        try:
            found = await asyncio.shield(self._client.calls.silent.tasks.spawn(caller.look(queue)))
        except Exception as error:  # noqa: BLE001 - the answers of workers are worth having without it
            _log.debug(
                "cannot look at the queue %r: %s", queue, error,
                extra=log_fields("client.look_failed", queue=queue, error=error),
            )  # fmt: skip
            return
        if found is None:
            self._states.pop(queue, None)
        else:
            self._states[queue] = found

    def state(self, queue: str) -> tuple[int, int] | None:
        """Return how many consumers and waiting requests a queue has; ``None``: that is not known."""
        return self._states.get(queue)

    async def finish(self, answers: list[TimedAnswer]) -> None:
        """Look once if that was not done while answers were waited for."""
        caller = self._client.calls.caller
        if self._looked or caller is None:
            return
        try:
            async with asyncio.timeout(_LAST_LOOK):
                await self(caller, answers)
        except TimeoutError:
            _log.debug("the broker did not tell about the queues in time", extra=log_fields("client.look_failed"))

    async def look_at_rest(self, queues: Iterable[str]) -> None:
        """Look at those of these queues that were not looked at: of the other classes of criticality."""
        caller = self._client.calls.caller
        rest = [queue for queue in queues if queue not in self._states][:_QUEUES_MAX]
        if caller is None or not rest:
            return
        try:
            async with asyncio.timeout(_LAST_LOOK):
                await self.look_at(caller, rest)
        except TimeoutError:
            _log.debug(
                "the broker did not tell about the queues of classes in time", extra=log_fields("client.look_failed")
            )

    def deaf(self, statuses: Iterable[WorkerStatus]) -> Iterator[tuple[str, int, int, int]]:
        """Yield the services with more consumers than workers that have answered.

        Each as name, number of consumers, number of workers that have answered, and number of waiting requests.
        """
        answered: dict[tuple[str, bool], int] = {}
        for status in statuses:
            for service in status.services:
                if service.live:
                    key = service.name, service.kind == "async"
                    answered[key] = answered.get(key, 0) + 1
        for name, is_async in sorted(self.existing):
            found = self.state(queue_name(name, is_async=is_async))
            heard = answered.get((name, is_async), 0)
            if found is not None and found[0] > heard:
                yield name, found[0], heard, found[1]
