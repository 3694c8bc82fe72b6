"""What callers do not wait for any more, kept for the requests that have yet to arrive."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.transport import IncomingRequest

__all__ = ["CALLERS_KEPT", "CALLS_KEPT", "CancelledCalls"]

CALLS_KEPT = 16_384
CALLERS_KEPT = 1_024
_KEPT_FOR = 3600.0
"""How long a cancelled call is remembered, in seconds: less than a busy caller takes to use its ids a second time."""


class CancelledCalls:
    """Cancelled calls and callers that are gone. Bounded: the oldest are forgotten, and such requests then run."""

    __slots__ = ("_callers", "_calls", "_clock", "any")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Know of none; ``clock`` tells seconds."""
        self.any = False
        """Whether there is any, so that the usual request pays no more than this question."""
        self._clock = clock
        self._calls: dict[tuple[bytes, bytes], float] = {}
        self._callers: dict[bytes, None] = {}

    def __len__(self) -> int:
        """Return how many calls and callers are kept."""
        return len(self._calls) + len(self._callers)

    def add_call(self, caller: bytes, correlation_id: bytes) -> None:
        """Remember that this call was cancelled."""
        self._calls.pop((caller, correlation_id), None)
        self._calls[caller, correlation_id] = self._clock()
        if len(self._calls) > CALLS_KEPT:
            del self._calls[next(iter(self._calls))]
        self.any = True

    def add_caller(self, caller: bytes) -> None:
        """Remember that this caller is gone."""
        self._callers.pop(caller, None)
        self._callers[caller] = None
        if len(self._callers) > CALLERS_KEPT:
            del self._callers[next(iter(self._callers))]
        self.any = True

    def takes(self, request: IncomingRequest) -> bool:
        """Tell whether nobody waits for this request; a cancelled call is forgotten with that."""
        cancelled = self._calls.pop((request.caller, request.correlation_id), None)
        if cancelled is not None:
            self.any = bool(self._calls or self._callers)
            if self._clock() - cancelled <= _KEPT_FOR:
                return True
        return request.caller in self._callers and not request.persistent
