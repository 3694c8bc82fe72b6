"""The processes of a simulated system. They share one event loop, and each may stand still or die by itself."""

from __future__ import annotations

from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from tests.simulation.loop import SimulationLoop

__all__ = ["NODE", "Node"]

NODE: ContextVar[Node | None] = ContextVar("NODE", default=None)
"""The process that the running callback belongs to; ``None``: the broker, or the simulation itself."""


class Node:
    """One process: what runs in its context belongs to it.

    Attributes:
        name: its name in traces.
        world: what it belongs to.
        frozen: whether it stands still; its callbacks wait then.
        dead: whether it was killed; its callbacks are dropped then.
        held: the callbacks that wait.
        stood_still: when it was frozen and woken, in seconds.
        transports: its connections.
        broker: the name of the broker that it serves; empty: none.
    """

    def __init__(self, name: str, loop: SimulationLoop, world: Any) -> None:
        """Start a process on ``loop``."""
        self.name, self.world = name, world
        self.frozen = self.dead = False
        self.held: list[asyncio.Handle] = []
        self.stood_still: list[tuple[float, float]] = []
        self.transports: list[Any] = []
        self.broker = ""
        self.context: Context = copy_context()
        self.context.run(NODE.set, self)
        self._loop = loop
        self._frozen_at = 0.0

    def __repr__(self) -> str:
        return self.name

    def spawn(self, work: Coroutine[Any, Any, Any], name: str = "") -> asyncio.Task[Any]:
        """Run a task in this process."""
        return self._loop.create_task(work, name=name, context=self.context.copy())

    def freeze(self) -> None:
        """Let it stand still."""
        if not (self.frozen or self.dead):
            self.frozen, self._frozen_at = True, self._loop.time()

    def thaw(self) -> None:
        """Let it run again, with everything that has become due meanwhile."""
        if self.frozen:
            self.frozen = False
            self.stood_still.append((self._frozen_at, self._loop.time()))
            self._loop._ready.extend(self.held)
            self.held = []

    def kill(self) -> None:
        """Let nothing of it ever run again."""
        self.dead, self.frozen, self.held = True, False, []
