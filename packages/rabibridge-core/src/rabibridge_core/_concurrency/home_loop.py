"""Where an object is connected: on one event loop of one process. Everything else is refused at the door.

Futures, sockets and locks belong to the event loop that they were made on. Used from another one they hang, or they
break what runs on the first. A forked process has copies of all of them that look usable and are not.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from rabibridge_core._concurrency.forks import call_after_fork
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["HomeLoop", "running_loop"]


def running_loop(name: str) -> AbstractEventLoop:
    """Return the running event loop.

    Args:
        name: who needs it, for the error.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    raise ConfigurationError(
        f"{name} needs a running asyncio event loop, and none runs in this thread: call it from a coroutine that "
        "asyncio runs. Trio has no asyncio event loop: with anyio, choose the asyncio backend"
    )


class HomeLoop:
    """The event loop and the process that an object is connected on, and the errors for all others."""

    def __init__(self, name: str) -> None:
        """Belong to no event loop yet; ``name`` is who is connected, for the errors."""
        self.name = name
        self.loop: AbstractEventLoop | None = None
        """The event loop; ``None`` before :meth:`enter`."""
        self.pid = os.getpid()
        """The process in which this was made."""
        self.forked = False
        """Whether this is the copy of a connected object in a forked process."""

    def enter(self, loop: AbstractEventLoop) -> None:
        """Belong to ``loop`` from now on.

        Raises:
            ConfigurationError: it belongs to another event loop, or to a parent process.
        """
        if self.loop is None:
            self.loop = loop
            call_after_fork(self)
        elif problem := self.problem(loop):
            raise ConfigurationError(problem)

    def check(self) -> None:
        """Check that the caller runs where this is connected; without effect before :meth:`enter`.

        Raises:
            ConfigurationError: the caller runs on another event loop, on none, or in a forked process.
        """
        if problem := self.problem(running_loop(self.name)):
            raise ConfigurationError(problem)

    def after_fork(self) -> None:
        """Called in a forked child: the event loop and the connection are those of the parent."""
        self.forked = True

    @property
    def is_here(self) -> bool:
        """Whether the caller runs on the event loop."""
        try:
            return asyncio.get_running_loop() is self.loop and not self.forked
        except RuntimeError:
            return False

    @property
    def gone(self) -> str:
        """Why nothing can run here any more, as a sentence for an error; empty if it can."""
        if self.forked:
            return (
                f"{self.name} was connected in process {self.pid}, which process {os.getpid()} was forked from: a "
                "connection is not shared across a fork. Await its connect() in this process"
            )
        if self.loop is not None and self.loop.is_closed():
            return (
                f"{self.name} was connected on another event loop, which is closed: {self.loop!r}. Await its connect() "
                "on this one, or make one client or server for each event loop"
            )
        return ""

    def problem(self, loop: AbstractEventLoop) -> str:
        """Return why it cannot be used on ``loop``, as a sentence for an error; empty if it can."""
        if gone := self.gone:
            return gone
        if self.loop is None or self.loop is loop:
            return ""
        return (
            f"{self.name} was connected on another event loop, {self.loop!r}; this is {loop!r}. Make one client or "
            "server for each event loop, or run the coroutine there: asyncio.run_coroutine_threadsafe()"
        )
