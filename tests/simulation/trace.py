"""What has happened in a simulation, as lines and as one hash."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.loop import SimulationLoop

__all__ = ["Trace"]


class Trace:
    """The events of one run, in their order."""

    def __init__(self, loop: SimulationLoop) -> None:
        """Nothing has happened yet."""
        self._loop = loop
        self.events: list[tuple[Any, ...]] = []

    def note(self, *what: Any) -> None:
        """Add an event: texts and numbers."""
        self.events.append((self._loop._now, *what))

    @property
    def digest(self) -> str:
        """A hash of all events."""
        text = "\n".join(map(repr, self.events))
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def lines(self, start: float) -> list[str]:
        """Return the events in words."""
        return [f"{at - start:10.4f}  {' '.join(map(str, what))}" for at, *what in self.events]
