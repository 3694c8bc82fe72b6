"""Chains of calls: tells callees which calls wait for them, and refuses calls that could only wait for themselves.

A call that a function makes has a header that lists the calls that wait for it, which :mod:`call_chains` of
``_protocol`` describes. When a function calls a service that is in its own chain, and by that header the chain holds
all places of a worker, the client finds out before it sends the call: the broker knows how many workers there are, and
they know who holds their places now. Any doubt lets the call be sent, to wait until its deadline as any other one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from rabibridge_core._client.consumer_counts import kinds_of
from rabibridge_core._client.control import ControlAsker
from rabibridge_core._client.side_caller import SideCaller
from rabibridge_core._concurrency.background import TaskSet
from rabibridge_core._observability.call_context import current_call_var
from rabibridge_core._protocol.call_chains import links_of
from rabibridge_core._protocol.control import ControlQuestion
from rabibridge_core._protocol.headers import CHAIN, CheckedHeaders
from rabibridge_core._protocol.naming import of_class, queue_name, split_class
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, DeadlockError
from rabibridge_core.introspection.reading import whole

if TYPE_CHECKING:
    from rabibridge_core._client.call_table import CallTable
    from rabibridge_core._client.control import TimedAnswer
    from rabibridge_core._protocol.call_chains import Link
    from rabibridge_core.transport import Caller, Headers, Transport

__all__ = ["CallChains", "Suspicion", "with_chain"]

_log = get_logger(__name__)
_PATIENCE = 1.0
"""How long a call is held at most to find out whether it could start, in seconds."""
_FORBIDDEN_FOR = 60.0
"""For how many seconds nobody is asked after the broker has refused that."""
_SHOWN = 12
"""How many links of a chain an error shows; of longer ones, the middle is left out."""


class Suspicion(NamedTuple):
    """A call may wait for its own chain.

    Attributes:
        func_name: the service that is called.
        links: the calls that wait for it, the oldest first.
        workers: how many workers have no place for it, as far as its chain says.
    """

    func_name: str
    links: list[Link]
    workers: int


class _Held(NamedTuple):
    """All places of a service are held by a chain: how many, and on how many workers."""

    places: int
    workers: int


def with_chain(headers: Headers | None) -> Headers | None:
    """Return the headers of a call with the calls that wait for it."""
    scope = current_call_var.get()
    chain = "" if scope is None or scope.over else scope.chain
    if not chain:
        return headers
    if type(headers) is CheckedHeaders:
        return CheckedHeaders({**headers, CHAIN: chain})
    return {**headers, CHAIN: chain} if headers else {CHAIN: chain}


class CallChains:
    """Looks at the chains of the calls that one client makes within calls."""

    def __init__(self, calls: CallTable, transport: Transport, name: str) -> None:
        """Look at the calls of this table, sent over ``transport`` by the client ``name``."""
        self._calls, self._transport, self._name = calls, transport, name
        self._side: SideCaller | None = None  # most clients never ask
        self._asker: ControlAsker | None = None
        self._forbidden_until = 0.0
        self._tasks = TaskSet()

    def join(self, func_name: str, headers: Headers | None) -> tuple[Headers | None, Suspicion | None]:
        """Return the headers of a call with its chain, and whether it may wait for that; ``None``: it does not."""
        headers = with_chain(headers)
        chain = "" if headers is None else str(headers.get(CHAIN, ""))
        return headers, suspicion(func_name, chain) if f"{func_name}:" in chain else None

    async def refuse(self, suspected: Suspicion, route: str, time_left: float | None) -> float | None:
        """Refuse a call if it could only wait for its own chain; return how much time it has left, in seconds.

        Raises:
            DeadlockError: all workers are there, and all their places are held by calls that wait for it.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        if began >= self._forbidden_until:
            # In a task of its own: a client that is not async runs its calls without one.
            held = await self._tasks.spawn(self._find_out(suspected, route, time_left))
            if held is not None:
                raise _deadlock(suspected, held)
        return None if time_left is None else time_left - (loop.time() - began)

    async def _find_out(self, suspected: Suspicion, route: str, time_left: float | None) -> _Held | None:
        try:
            async with asyncio.timeout(_PATIENCE if time_left is None else min(_PATIENCE, time_left)):
                return await self._held(suspected, route)
        except TimeoutError:  # a worker or the broker takes its time: nothing is known
            return None
        except Exception as error:  # noqa: BLE001 - the call can be sent without it
            if isinstance(error, ConfigurationError):
                self._forbidden_until = asyncio.get_running_loop().time() + _FORBIDDEN_FOR
            _log.debug(
                "cannot find out who holds the places of %r: %s", suspected.func_name, error,
                extra=log_fields("client.look_failed", service=suspected.func_name, error=error),
            )  # fmt: skip
            return None

    async def _held(self, suspected: Suspicion, route: str) -> _Held | None:
        """Return how many places there are, if the chain holds all of them."""
        caller, (_, criticality) = self._calls.caller, split_class(route)
        if caller is None:
            return None
        consumers = await _consumers(caller, suspected.func_name, route)
        if not 1 <= consumers <= suspected.workers:
            return None
        places = tuple(link.place for link in suspected.links if link.service == suspected.func_name)
        question = ControlQuestion("places", "", suspected.func_name, criticality, places)
        asker = await self._opened()
        answers, _ = await asker.ask(
            question, _PATIENCE, enough=lambda told: _has_free_place(told) or len(_full(told)) >= consumers
        )
        full = _full(answers)
        if _has_free_place(answers) or len(full) < consumers:
            return None
        if not 1 <= await _consumers(caller, suspected.func_name, route) <= len(full):  # another one has come meanwhile
            return None
        return _Held(sum(full), len(full))

    async def _opened(self) -> ControlAsker:
        if self._side is None or self._asker is None:
            self._side = SideCaller(self._transport, f"{self._name} (chains)", self._calls.silent.tasks)
            self._asker = ControlAsker(self._side)
        await self._side.open()
        return self._asker


def suspicion(func_name: str, chain: str) -> Suspicion | None:
    """Return what to find out about a call with this chain; ``None``: there is a free place, as far as it says."""
    links = links_of(chain)
    places: dict[str, int] = {}
    held = Counter[str]()
    for link in links:
        if link.service == func_name:
            held[link.worker] += 1
            places[link.worker] = min(link.places, places.get(link.worker, link.places))
    workers = sum(count >= places[worker] for worker, count in held.items())
    return Suspicion(func_name, links, workers) if workers else None


async def _consumers(caller: Caller, func_name: str, route: str) -> int:
    """Return how many workers take the calls of a routing key; 0: nobody does, or the broker does not tell."""
    plain, criticality = split_class(route)
    queues = [queue_name(func_name, is_async=is_async) for is_async in kinds_of(func_name, plain)]
    for names in ([of_class(queue, criticality) for queue in queues] if criticality else [], queues):
        found = [state[0] for name in names if (state := await caller.look(name)) is not None]
        if found:  # the first class has the queue of the service
            return sum(found)
    return 0


def _places_told(answers: list[TimedAnswer]) -> list[tuple[int, int]]:
    told = ((whole(one.answer.value.get("places")), whole(one.answer.value.get("held"))) for one in answers)
    return [(places, held) for places, held in told if places > 0]


def _has_free_place(answers: list[TimedAnswer]) -> bool:
    """Tell whether a worker has a place that the chain does not hold: a free one, or one of another call."""
    return any(held < places for places, held in _places_told(answers))


def _full(answers: list[TimedAnswer]) -> list[int]:
    """Return the number of places of each worker of which the chain holds all."""
    return [places for places, held in _places_told(answers) if held >= places]


def _deadlock(suspected: Suspicion, held: _Held) -> DeadlockError:
    name, chain = suspected.func_name, (*(link.service for link in suspected.links), suspected.func_name)
    half, left_out = _SHOWN // 2, len(chain) - _SHOWN
    shown = chain if left_out <= 0 else (*chain[:half], f"({left_out} more)", *chain[-half:])
    workers = "the only worker" if held.workers == 1 else f"the {held.workers} workers"
    places = "the only place" if held.places == 1 else f"all {held.places} places"
    return DeadlockError(
        f"call of {name!r} refused: {' → '.join(shown)} could only wait for itself: the calls that wait for it hold "
        f"{places} of {name!r} on {workers} that there is; give it a larger fetch_size or more workers, one place for "
        "each level of the chain, or call the function itself where it needs no other worker",
        func_name=name,
        chain=chain,
    )
