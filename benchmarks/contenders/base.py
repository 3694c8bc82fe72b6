"""The interface of every contender for the programs that drive it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

Function = Callable[[Any], Coroutine[Any, Any, Any]]
"""A service: one argument, one result."""


async def echo(x: Any) -> Any:
    """Return the argument."""
    return x


@dataclass(frozen=True)
class Service:
    """The service to serve and call; a contender ignores the options that it does not support."""

    function: Function = echo
    queue_size: int = 10_000
    """Maximum number of messages waiting in the queue."""
    fetch_size: int = 256
    """Maximum number of requests that a server processes at a time: its prefetch count."""
    fetch_ahead: int = 0
    """Requests that a server prefetches in addition, if this is configurable."""
    timeout: float = 10.0
    """Timeout of a call, in seconds."""
    classes: Mapping[str, int | None] | None = None
    """Classes of criticality in the place of ``queue_size``; RabiBridge only."""
    criticality: str | None = None
    """The class that calls name."""
    timeouts: Callable[[Any], float] | None = None
    """The timeout of each call by its argument, in seconds, in the place of ``timeout``; RabiBridge only."""
    max_wait: float | None = None
    """How long a call may have waited when it starts, in seconds; RabiBridge only."""
    deadline_admission: bool | None = None
    """Whether workers refuse calls that cannot end in their time; RabiBridge only."""

    @property
    def name(self) -> str:
        """The name of the service."""
        return self.function.__name__


class RefusedError(Exception):
    """A call that was refused because the queue is full."""


class Side(Protocol):
    """A connected server or client."""

    def left(self) -> dict[str, int]:
        """Return the number of entries in each table: zero when no call is in flight."""
        ...


class Caller(Side, Protocol):
    """A client."""

    async def call(self, x: Any) -> Any:
        """Call the service with one argument.

        Raises:
            RefusedError: its queue is full.
            TimeoutError: the timeout has passed.
        """
        ...


class Contender(Protocol):
    """The functions of a contender's module."""

    def serve(self, url: str, service: Service) -> AbstractAsyncContextManager[Side]:
        """Serve while the context is open."""
        ...

    def caller(self, url: str, service: Service) -> AbstractAsyncContextManager[Caller]:
        """Stay connected while the context is open."""
        ...


def load(name: str) -> Contender:
    """Import a contender; its library must be installed where this runs."""
    return cast("Contender", importlib.import_module(f"benchmarks.contenders.{name}"))
