"""Notices functions that run on although their calls have ended, and hold the places of their service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._clock import monotonic
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core.errors import ConnectionLostError

__all__ = ["OutlastingHandlers", "log_lost", "log_outlasting"]

_log = get_logger(__name__)


class OutlastingHandlers:
    """The requests of one service that were stopped and whose handlers still run.

    A function in a thread cannot be interrupted, and an async one may ignore its cancellation. While such functions
    hold all places of the service, no further call can start here.
    """

    __slots__ = ("_service", "_since", "_warned")

    def __init__(self, service: str) -> None:
        """Watch the service of this name."""
        self._service = service
        self._since: dict[ActiveRequest, float] = {}
        self._warned = False

    def look(self, requests: Iterable[ActiveRequest], places: int) -> None:
        """Look at the active requests; called regularly. It logs once that all places are held, until one is free."""
        now = monotonic()
        self._since = {
            active: self._since.get(active) or min(now, active.ends_at or now)
            for active in requests
            if active.stop_reason is not None and active.task is not None
        }
        problem = self.problem(places)
        if problem and not self._warned:
            _log.warning(
                "service %r: %s", self._service, problem,
                extra=log_fields("service.threads_left", service=self._service),
            )  # fmt: skip
        self._warned = bool(problem)

    def problem(self, places: int) -> str:
        """Return a sentence if all of the places were held at the last look, and still are; else nothing."""
        held = [since for active, since in self._since.items() if not active.over]
        if len(held) < places:
            return ""
        return (
            f"all of its {places} places are held by functions that run on although their calls have ended, some for "
            f"{monotonic() - min(held):.0f} s and more: no further call can start"
        )


def log_outlasting(service: str, requests: Iterable[ActiveRequest]) -> None:
    """Log how many functions still run in threads when a service has stopped."""
    threads = sum(active.thread_future is not None for active in requests)
    if threads:
        _log.warning(
            "service %r: %d functions still run in threads, which cannot be interrupted: they end by themselves, or "
            "with the process",
            service, threads,
            extra=log_fields("service.threads_left", service=service, count=threads),
        )  # fmt: skip


def log_lost(service: str, count: int, error: ConnectionLostError) -> None:
    """Log how many functions are stopped because the connection was lost."""
    _log.warning(
        "service %r: %d calls are stopped and will be redelivered: %s", service, count, error,
        extra=log_fields("service.calls_lost", service=service, count=count, error=error),
    )  # fmt: skip
