"""Whether a broker accepts messages now, for the health of a server: its replies wait while it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from rabibridge_core.transport.protocols import Transport

__all__ = ["Blockable", "obstacles"]


@runtime_checkable
class Blockable(Protocol):
    """A transport that knows when its broker accepts no messages, as in an alarm. Optional.

    It costs next to nothing: it may be asked in any thread, and never waits.
    """

    def why_blocked(self) -> str:
        """Return why the broker accepts no messages on the present connection, as a sentence; empty: it does."""
        ...


def obstacles(transport: Transport) -> tuple[str, ...]:
    """Return what keeps the messages of a transport from the broker now, besides a lost connection."""
    why = transport.why_blocked() if isinstance(transport, Blockable) else ""
    return (why,) if why else ()
