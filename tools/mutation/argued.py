"""Mutants that nothing can notice, or that need not be noticed, and why."""

from __future__ import annotations

__all__ = ["ARGUED"]

ARGUED: dict[str, str] = {
    "_concurrency.deadlines:DeadlineWheel.clear: self._timers.clear() -> pass": (
        "the timers are cancelled; the next deadline of a slot puts its own there, since the slot is gone"
    ),
}
