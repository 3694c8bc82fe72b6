"""How long functions that yield without waiting may hold the event loop."""

from __future__ import annotations

from typing import Final

__all__ = ["TURN", "turn_length"]

TURN: Final = 0.002
"""A function that yields without waiting lets other work run on the event loop after this time, in seconds."""
_ALL_TURNS: Final = 0.01
"""If several do that, they share this time, ..."""
_SHORTEST_TURN: Final = 0.0001
"""... but none gets less than this."""


def turn_length(streams: int) -> float:
    """Return how long one of so many streams may hold the event loop, in seconds."""
    return min(TURN, max(_SHORTEST_TURN, _ALL_TURNS / (streams or 1)))
