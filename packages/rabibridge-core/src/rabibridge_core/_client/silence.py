"""Why a service is silent: what the error of a call that timed out says beyond its timeout.

It is asked after the timeout of a call, at most once in five seconds for each service, and delays the error by 0.1 s at
most.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

from rabibridge_core._client.consumer_counts import ConsumerCounts, kinds_of
from rabibridge_core._concurrency.background import TaskSet
from rabibridge_core._protocol.naming import of_class, queue_name, split_class
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._client.pending import PendingCall
    from rabibridge_core._client.routes import ClassRoutes
    from rabibridge_core.transport import Caller

__all__ = ["SilentServices"]

_log = get_logger(__name__)
_PATIENCE = 0.1
_FRESH = 5.0
_SERVICES_KEPT = 4096
_LEFT_CLASS = (
    "no worker serves the class that the call names, although the service has workers: it has lost that class, and "
    "calls that name it are sent to the first class of the service now"
)


class SilentServices:
    """What is known about services that have not answered calls in time.

    Attributes:
        unanswered: the routing keys of services that were called and have never answered.
        counts: how many workers services have.
        tasks: the looks at queues, which are cancelled when the client is closed.
    """

    def __init__(self, classes: ClassRoutes) -> None:
        """Nothing is known yet; ``classes`` is told which classes of criticality nobody serves any more."""
        self._classes = classes
        self.unanswered: set[str] = set()
        self._found: dict[str, tuple[float, str]] = {}
        self._waiting: dict[str, list[Callable[[str], None]]] = {}
        self.tasks = TaskSet()
        self.counts = ConsumerCounts(self.tasks)

    def called(self, route: str) -> None:
        """Called when a service is called for the first time."""
        if len(self.unanswered) < _SERVICES_KEPT:
            self.unanswered.add(route)

    def explain(self, call: PendingCall, caller: Caller, tell: Callable[[str], None]) -> None:
        """Call ``tell`` with what is known about the service of a call, as a clause, within 0.1 s."""
        route, loop = call.request.routing_key, call.future.get_loop()
        found_at, found = self._found.get(route, (-_FRESH, ""))
        if loop.time() - found_at < _FRESH:
            tell(self._with_answers(route, found))
            return
        waiting = self._waiting.get(route)
        if waiting is not None:
            waiting.append(tell)
            return
        self._waiting[route] = [tell]
        loop.call_later(_PATIENCE, self._tell, route, "", context=Context())
        self.tasks.spawn(self._look(call.func_name, route, caller, loop))

    def end(self) -> None:
        """Tell what is known to all calls that wait for it."""
        for route in list(self._waiting):
            self._tell(route, "")

    async def close(self) -> None:
        """Ask no longer; the connection is closed."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _look(self, func_name: str, route: str, caller: Caller, loop: asyncio.AbstractEventLoop) -> None:
        found, (plain, criticality) = "", split_class(route)
        queues = [queue_name(func_name, is_async=is_async) for is_async in kinds_of(func_name, plain)]
        try:
            if criticality:
                found = await self._look_at_class([of_class(queue, criticality) for queue in queues], queues, caller)
                if found == _LEFT_CLASS:
                    self._classes.instead_of(route, loop)
            for queue in queues if not found else ():
                state = await caller.look(queue)
                if state is not None:
                    found = _described(*state)
                    break
        except Exception as error:  # noqa: BLE001 - the call ends with its timeout, whatever this is
            _log.debug(
                "cannot find out why %r is silent: %s", func_name, error,
                extra=log_fields("client.look_failed", service=func_name, error=error),
            )  # fmt: skip
        if len(self._found) >= _SERVICES_KEPT:
            self._found.clear()
        self._found[route] = loop.time(), found
        self._tell(route, found)

    @staticmethod
    async def _look_at_class(queues: list[str], of_service: list[str], caller: Caller) -> str:
        """Return what is known about the queue of a class; empty: there is none."""
        for queue, plain in zip(queues, of_service, strict=True):
            state = await caller.look(queue)
            if state is not None:
                service = None if state[0] else await caller.look(plain)
                return _LEFT_CLASS if service is not None and service[0] else _described(*state)
        return ""

    def _tell(self, route: str, found: str) -> None:
        for tell in self._waiting.pop(route, ()):
            tell(self._with_answers(route, found))

    def _with_answers(self, route: str, found: str) -> str:
        never = "this client has never had an answer from it" if route in self.unanswered else ""
        return "; ".join(filter(None, (found, never)))


def _described(consumers: int, waiting: int) -> str:
    who = "no worker serves" if not consumers else "1 worker serves" if consumers == 1 else f"{consumers} workers serve"
    return f"{who} it now, and {waiting} {'call waits' if waiting == 1 else 'calls wait'} in its queue"
