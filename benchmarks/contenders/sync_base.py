"""The interface of the contenders for synchronous callers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

Call: TypeAlias = "Callable[[Any], Any]"
"""Calls the service ``echo`` with one argument and waits for its result."""


class SyncClient(Protocol):
    """A client of one process."""

    def thread(self) -> AbstractContextManager[Call]:
        """Prepare a thread to call, as the documentation of the library shows, with a connection of its own or not."""
        ...


class SyncContender(Protocol):
    """The functions of a contender's module."""

    def serve(self, url: str, ready: Callable[[], None]) -> None:
        """Serve ``echo`` until the process ends; call ``ready`` as soon as calls are answered."""
        ...

    def client(self, url: str) -> AbstractContextManager[SyncClient]:
        """Return the client, connected while the context is open where one connection serves all threads."""
        ...


def load(name: str) -> SyncContender:
    """Import a contender; its library must be installed where this runs."""
    return cast("SyncContender", importlib.import_module(f"benchmarks.contenders.{name}"))
