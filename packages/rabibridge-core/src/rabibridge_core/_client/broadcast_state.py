"""What a broadcast has heard so far: which workers have it, which have answered, and how many there are."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING

from rabibridge_core._protocol.headers import RECEIVED, WORKER, WORKER_ID
from rabibridge_core.errors import ConfigurationError, ConnectionLostError, NoRouteError

if TYPE_CHECKING:
    from rabibridge_core.transport import Refusal, Reply

__all__ = ["BroadcastState"]

_WORKERS_MAX = 16_384
"""How many workers are told apart: more would be forged."""


class BroadcastState:
    """The state of one broadcast. It implements :class:`BroadcastEvents`.

    Attributes:
        waiting: the names of the workers that have it and have not answered, by id.
        answered: the ids of the workers that have answered.
        answers: the answers that nobody has taken yet, with the name of the worker.
        accepted: whether the broker has passed it on; ``False``: it has not said so yet.
        no_route: the error class of the transport, if no worker could get it; else ``None``.
        error: why no more replies arrive.
        consumers: how many workers there are, as far as it is known.
        routing_key: the routing key of the service; empty before it is sent.
    """

    def __init__(self, func_name: str) -> None:
        """Hear about a broadcast to the service of this name."""
        self.waiting: dict[str, str] = {}
        self.answered: set[str] = set()
        self.answers: deque[tuple[str, Reply]] = deque()
        self.accepted = False
        self.no_route: type[NoRouteError] | None = None
        self.error: ConnectionLostError | ConfigurationError | None = None
        self.consumers: int | None = None
        self.routing_key = ""
        self._func_name = func_name
        self._changed = asyncio.Event()

    @property
    def heard(self) -> int:
        """How many workers have said that they have it."""
        return len(self.waiting) + len(self.answered)

    @property
    def silent(self) -> int | None:
        """How many workers there are that have not said anything; ``None`` if that is not known."""
        return None if self.consumers is None else max(0, self.consumers - self.heard)

    @property
    def complete(self) -> bool:
        """Whether all workers that there are have answered."""
        return self.accepted and not self.waiting and self.silent == 0

    def replied(self, reply: Reply, /) -> bool:
        """Called for each reply; returns whether it counts."""
        headers = reply.headers or {}
        worker, name = headers.get(WORKER_ID), headers.get(WORKER)
        if not (isinstance(worker, str) and isinstance(name, str)) or worker in self.answered:
            return False
        if worker not in self.waiting and self.heard >= _WORKERS_MAX:
            return False
        if headers.get(RECEIVED) is True:
            self.waiting[worker] = name
        else:
            self.waiting.pop(worker, None)
            self.answered.add(worker)
            self.answers.append((name, reply))
        self._changed.set()
        return True

    def confirmed(self) -> None:
        """Called when the broker has passed it on."""
        self.accepted = True
        self._changed.set()

    def refused(self, refusal: Refusal, /) -> None:
        """Called when no worker could get it, or when one of several could not: that one is counted as silent."""
        if issubclass(refusal, NoRouteError):
            self.no_route = refusal
        self.accepted = True
        self._changed.set()

    def lost(self, error: ConnectionLostError | ConfigurationError, /) -> None:
        """Called when no more replies can arrive. The first reason counts."""
        if self.error is not None:
            return
        what = f"broadcast of {self._func_name!r}: {error}"
        if isinstance(error, ConnectionLostError):
            self.error = ConnectionLostError(what, executed=error.executed, accepted=self.accepted)
        else:
            self.error = ConnectionLostError(what, accepted=True) if self.accepted else ConfigurationError(what)
        self.error.__cause__ = error
        self._changed.set()

    async def changed(self, look: asyncio.Task[int | None] | None, seconds: float) -> None:
        """Wait until something was heard, ``look`` has ended, or that many seconds are over."""
        if look is not None:
            look.add_done_callback(self._wake)
        try:
            async with asyncio.timeout(None if math.isinf(seconds) else max(0.0, seconds)):
                await self._changed.wait()
        except TimeoutError:
            pass
        finally:
            self._changed.clear()
            if look is not None:
                look.remove_done_callback(self._wake)

    def _wake(self, look: asyncio.Task[int | None]) -> None:
        self._changed.set()
