"""What a memory alarm of the broker does to one connection, as RabbitMQ does it.

The broker reads a connection until the first message that it publishes meanwhile. That message and all that follows,
also acknowledgements, stands still until the alarm ends; then it is processed in order. Only after the first message,
the client is told. What the broker sends still arrives.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AlarmGate"]


class AlarmGate:
    """What of one connection the broker does not read.

    Attributes:
        told: whether the client was told that it is blocked.
    """

    def __init__(self) -> None:
        """Let everything pass."""
        self._held: deque[Callable[[], None]] | None = None
        self.told = False

    @property
    def closed(self) -> bool:
        """Whether the broker reads nothing of the connection."""
        return self._held is not None

    def shut(self) -> None:
        """Hold everything from now on."""
        self._held = deque()

    def hold(self, act: Callable[[], None]) -> None:
        """Do ``act`` when the gate is opened."""
        assert self._held is not None
        self._held.append(act)

    def open(self) -> None:
        """Do all that was held, in its order."""
        held, self._held, self.told = self._held, None, False
        for act in held or ():
            act()

    def drop(self) -> None:
        """Forget what was held, because the connection is lost."""
        self._held, self.told = None, False
