"""Tells the worker what a consumer of the memory broker hears about its calls and its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabibridge_core.errors import ConnectionLostError
    from rabibridge_core.transport import ConsumerEvents, Reply

__all__ = ["ConsumerNews"]


class ConsumerNews:
    """What a consumer passes on as it is."""

    _events: ConsumerEvents

    def cancelled(self, caller: bytes, correlation_id: bytes, user: str) -> None:
        """Called when a call to this service was cancelled."""
        self._events.cancelled(caller, correlation_id, user)

    def fed(self, caller: bytes, correlation_id: bytes, message: Reply, user: str) -> None:
        """Called with a further message of a call."""
        self._events.fed(caller, correlation_id, message, user)

    def caller_gone(self, caller: bytes) -> None:
        """Called when a caller has disconnected."""
        self._events.caller_gone(caller)

    def lost(self, error: ConnectionLostError) -> None:
        """Called when the connection or the channel was lost."""
        self._events.lost(error)
