"""How far clocks may differ before that is worth a line."""

from __future__ import annotations

__all__ = ["CLOCK_ADVICE", "SKEW_MAX"]

SKEW_MAX = 2.0
"""In seconds. The clock of a broker is known to a second only."""

CLOCK_ADVICE = (
    "synchronize both with NTP: timedatectl, chronyc tracking. Deadlines of calls hold all the same; times of dead "
    "letters and in logs are wrong"
)
