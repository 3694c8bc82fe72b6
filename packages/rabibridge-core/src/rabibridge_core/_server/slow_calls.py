"""Logs where a call is that takes longer than it should, while it still runs.

Nothing is done for a call when it begins or ends: a task looks at the active requests now and then, only if a service
wants it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rabibridge_core._clock import monotonic
from rabibridge_core._concurrency.background import TaskSet, repeat
from rabibridge_core._concurrency.daemon_threads import DaemonThreadPool, joined
from rabibridge_core._observability.stacks import StackReader
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import TextBlock, get_logger
from rabibridge_core._server.running_calls import call_id, stacks_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rabibridge_core._server.active_request import ActiveRequest, StackSource
    from rabibridge_core._server.service import ServiceRunner
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.introspection.running import CallStack

__all__ = ["SlowCalls"]

_log = get_logger(__name__)
_SHORTEST, _LONGEST = 0.02, 1.0


class SlowCalls:
    """Watches the calls of one server."""

    def __init__(self, default: float | None, runners: Callable[[], Iterable[ServiceRunner]]) -> None:
        """Watch nothing yet.

        Args:
            default: after how many seconds a call is slow, for services that do not say it; ``None``: never.
            runners: returns the services that run or finish.
        """
        self.default = default
        self._runners = runners
        self._task: asyncio.Task[None] | None = None
        self._interval = _LONGEST
        self._logged: set[int] = set()
        self._asking = TaskSet()
        self._threads: DaemonThreadPool | None = None
        self._limited = LimitedLog(_log, 5.0)

    def watch(self, schema: ServiceSchema) -> None:
        """Watch the calls of a service, too, if it wants that."""
        if (slow := schema.slow_call) is None:
            return
        interval = min(max(slow / 4, _SHORTEST), _LONGEST)
        if self._task is None or self._task.done() or interval < self._interval:
            self.stop()
            self._interval = interval
            self._task = asyncio.ensure_future(repeat(interval, self._look))

    def stop(self) -> None:
        """Watch no longer."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for asking in self._asking:
            asking.cancel()
        if self._threads is not None:
            self._threads.close(drop_waiting=True)
            self._threads = None
        self._limited.summarize()

    def _look(self) -> None:
        now, slow = monotonic(), set[int]()
        for runner in set(self._runners()):
            limit = runner.schema.slow_call
            if limit is None:
                continue
            for active in runner.all_active():
                if now - active.received_at >= limit and active.task is not None and not active.over:
                    slow.add(id(active))
                    if id(active) not in self._logged:
                        self._report(active, now - active.received_at)
        self._logged = slow  # those that have ended are forgotten

    def _report(self, active: ActiveRequest, age: float) -> None:
        if not _log.isEnabledFor(logging.WARNING):
            return
        stacks = StackReader().stacks_of(active, active.task)
        if (child := getattr(active, "child", None)) is None:
            self._log(active, age, stacks)
        else:
            self._asking.spawn(self._ask(active, age, stacks, child))

    async def _ask(self, active: ActiveRequest, age: float, stacks: tuple[CallStack, ...], child: StackSource) -> None:
        """Log a call that a child process runs, once it has told where it is."""
        if self._threads is None:
            self._threads = DaemonThreadPool(1, "rabibridge-slow-calls")
        found = await joined(self._threads.submit(lambda: child.stacks(active.request.correlation_id)))
        self._log(active, age, (*(stack for stack in stacks if stack.places or not found), *found))

    def _log(self, active: ActiveRequest, age: float, stacks: tuple[CallStack, ...]) -> None:
        self._limited.log(
            f"service {active.service!r}: a call takes long", logging.WARNING,
            "service %r: call %s runs for %.1f s and has not ended:\n%s", active.service, call_id(active), age,
            TextBlock(stacks_text(stacks)),
            extra=log_fields(
                "call.slow", service=active.service, call_id=active.request.correlation_id, attempt=active.attempt,
                duration=age,
            ),
        )  # fmt: skip
