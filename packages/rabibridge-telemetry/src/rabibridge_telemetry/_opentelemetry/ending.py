"""Lets a process that serves end in time while its spans and metrics cannot be exported.

The SDK exports what is left when the process ends, and waits for its exporter, for 30 seconds at most. A worker that is
stopped has no such time: its supervisor would kill it. So the wait is limited here. The threads for that are started
before they are needed, since Python 3.12 and later start none in a process that ends.
"""

from __future__ import annotations

import atexit
import threading
from time import monotonic
from typing import Any, Final

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

__all__ = ["END_LIMIT", "limit_end"]

_log = get_logger(__name__)
END_LIMIT: Final = 3.0
"""How long a process that has served waits at its end until everything is exported, in seconds."""
_endings: list[_Ending] = []
_lock = threading.Lock()


def limit_end(provider: Any) -> None:
    """Shut ``provider`` down when the process ends, and wait for :data:`END_LIMIT` seconds at most for all of them.

    It is called after the provider was set, so that this runs before the provider's own function for the end of the
    process. A provider that cannot be shut down is left alone; so is one that was given before.
    """
    if not callable(getattr(provider, "shutdown", None)):
        return
    with _lock:
        if any(each.provider is provider for each in _endings):
            return
        if not _endings:
            atexit.register(_end)
        _endings.append(_Ending(provider))


class _Ending:
    """The end of one provider."""

    def __init__(self, provider: Any) -> None:
        self.provider = provider
        self._due = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rabibridge-telemetry-end", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._due.wait()
        try:
            self.provider.shutdown()
        except Exception as error:  # noqa: BLE001 - exporters raise anything; the process ends all the same
            _log.exception(
                "the %s cannot be shut down", type(self.provider).__name__,
                extra=log_fields("telemetry.shutdown_failed", error=error),
            )  # fmt: skip

    def begin(self) -> bool:
        """Begin to shut down; return whether that can be done here: a process that was forked has no such thread."""
        if not self._thread.is_alive():
            return False
        self._due.set()
        return True

    def wait(self, seconds: float) -> None:
        """Wait until it is shut down, or the time is over: what is left is lost then."""
        self._thread.join(max(seconds, 0))
        if self._thread.is_alive():
            atexit.unregister(self.provider.shutdown)  # it would wait for the same exporter once more
            _log.warning(
                "what the %s has left was not exported in %g seconds, and is lost", type(self.provider).__name__,
                END_LIMIT, extra=log_fields("telemetry.export_given_up", duration=END_LIMIT),
            )  # fmt: skip


def _end() -> None:
    ends_at = monotonic() + END_LIMIT
    for each in [each for each in _endings if each.begin()]:
        each.wait(ends_at - monotonic())
