"""What every contender offers to the programs that drive it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

Function = Callable[[Any], Coroutine[Any, Any, Any]]
"""A service: one argument, one result."""


async def echo(x: Any) -> Any:
    """Return what came."""
    return x


@dataclass(frozen=True)
class Service:
    """What is served and called, the same for all contenders as far as they know the term."""

    function: Function = echo
    queue_size: int = 10_000
    """Most messages that wait in the queue."""
    in_hand: int = 256
    """Most requests that a server has in hand: its prefetch count."""
    fetch_ahead: int = 0
    """Requests that a server holds besides, which wait for one of its places, where that can be set."""
    timeout: float = 10.0
    """Of a call, in seconds."""

    @property
    def name(self) -> str:
        """The name under which it is called."""
        return self.function.__name__


class RefusedError(Exception):
    """A call that was refused because the queue is full."""


class Side(Protocol):
    """A server or a client that is connected."""

    def left(self) -> dict[str, int]:
        """How many entries its tables hold: nothing when no call is under way."""
        ...


class Caller(Side, Protocol):
    """A client."""

    async def call(self, x: Any) -> Any:
        """Call the service with one argument.

        Raises:
            RefusedError: its queue is full.
            TimeoutError: the service's timeout is over.
        """
        ...


class Contender(Protocol):
    """What a contender's module holds."""

    def serve(self, url: str, service: Service) -> AbstractAsyncContextManager[Side]:
        """Serve it as long as the context lasts."""
        ...

    def caller(self, url: str, service: Service) -> AbstractAsyncContextManager[Caller]:
        """Be connected as long as the context lasts."""
        ...


def load(name: str) -> Contender:
    """Import a contender; its library must be installed where this runs."""
    return cast("Contender", importlib.import_module(f"benchmarks.contenders.{name}"))
