"""Tells connected objects that their process was forked: what they are connected to belongs to the parent."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["ForkAware", "call_after_fork"]


class ForkAware(Protocol):
    """What has to know that it is now a copy in a forked child."""

    def after_fork(self) -> None:
        """Called in the child, before its first statement runs. It must not log, wait or touch an event loop."""
        ...


_known: WeakSet[ForkAware] = WeakSet()


def call_after_fork(copied: ForkAware) -> None:
    """Call ``copied.after_fork()`` in every child that this process forks from now on, while ``copied`` exists."""
    _known.add(copied)


def _in_child() -> None:
    copies = list(_known)
    _known.clear()
    for copied in copies:
        copied.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_in_child)
