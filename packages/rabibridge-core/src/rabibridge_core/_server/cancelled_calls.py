"""Cancelled calls and disconnected callers: which active requests to stop, and which ones to drop on arrival."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

from rabibridge_core._clock import monotonic
from rabibridge_core._protocol.identity import sender_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.transport import IncomingRequest

__all__ = ["MAX_CALLERS", "MAX_CALLS", "CancellationBatch", "CancelledCalls"]

_Call: TypeAlias = "tuple[bytes, bytes, str]"
"""Caller, correlation id, and the user that may cancel the call."""

MAX_CALLS = 16_384
MAX_CALLERS = 1_024
_CALL_LIFETIME = 3600.0
"""How long a cancelled call is remembered, in seconds."""


class CancelledCalls:
    """Remembers cancelled calls and disconnected callers, so that their requests are dropped on arrival.

    It is bounded: the oldest entries are removed first, and a request whose entry was removed is processed as usual.
    """

    __slots__ = ("_callers", "_calls", "_clock", "any")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Start empty; ``clock`` returns seconds."""
        self.any = False
        """Whether there is an entry at all: requests are looked up only then."""
        self._clock = clock
        self._calls: dict[_Call, float] = {}
        self._callers: dict[bytes, None] = {}

    def __len__(self) -> int:
        """Return the number of calls and callers that are remembered."""
        return len(self._calls) + len(self._callers)

    def add_call(self, caller: bytes, correlation_id: bytes, user: str = "") -> None:
        """Remember that this call was cancelled, by this user."""
        self._calls.pop((caller, correlation_id, user), None)
        self._calls[caller, correlation_id, user] = self._clock()
        if len(self._calls) > MAX_CALLS:
            del self._calls[next(iter(self._calls))]
        self.any = True

    def add_caller(self, caller: bytes) -> None:
        """Remember that this caller has disconnected."""
        self._callers.pop(caller, None)
        self._callers[caller] = None
        if len(self._callers) > MAX_CALLERS:
            del self._callers[next(iter(self._callers))]
        self.any = True

    def purge(self) -> None:
        """Forget the calls that were cancelled too long ago."""
        oldest = self._clock() - _CALL_LIFETIME
        while self._calls and next(iter(self._calls.values())) < oldest:
            del self._calls[next(iter(self._calls))]
        self.any = bool(self._calls or self._callers)

    def discard(self, request: IncomingRequest) -> bool:
        """Tell whether to drop this request; the entry of a cancelled call is removed, as it applies once."""
        cancelled_at = self._calls.pop(_call(request), None)
        if cancelled_at is not None:
            self.any = bool(self._calls or self._callers)
            if self._clock() - cancelled_at <= _CALL_LIFETIME:
                return True
        return request.caller in self._callers and not request.persistent


def _call(request: IncomingRequest) -> _Call:
    return request.caller, request.correlation_id, sender_of(request)


class CancellationBatch:
    """Collects the cancellations of one iteration of the event loop, so that active requests are searched once.

    A caller may cancel a thousand calls at once.
    """

    __slots__ = ("_apply", "_callers", "_calls", "_ids", "_loop", "_scheduled")

    def __init__(self, apply: Callable[[CancellationBatch], None]) -> None:
        """Call ``apply(self)`` once after each iteration with cancellations, then start an empty batch."""
        self._loop = asyncio.get_running_loop()
        self._apply = apply
        self._scheduled = False
        self._calls: set[_Call] = set()
        self._ids: set[bytes] = set()
        self._callers: set[bytes] = set()

    def add_call(self, caller: bytes, correlation_id: bytes, user: str = "") -> None:
        """Add one call, which this user has cancelled."""
        self._calls.add((caller, correlation_id, user))
        self._ids.add(correlation_id)
        self._schedule()

    def add_caller(self, caller: bytes) -> None:
        """Add all calls of a caller, except persistent ones."""
        self._callers.add(caller)
        self._schedule()

    def __contains__(self, request: IncomingRequest) -> bool:
        """Tell whether this request was cancelled."""
        return (request.correlation_id in self._ids and _call(request) in self._calls) or (
            request.caller in self._callers and not request.persistent
        )

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        self._apply(self)
        self._calls.clear()
        self._ids.clear()
        self._callers.clear()
