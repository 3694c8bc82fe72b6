"""The places of a service on one worker: what the chains of calls say of them, and who holds them."""

from __future__ import annotations

import secrets
import threading
from itertools import count
from typing import TYPE_CHECKING, Protocol

from rabibridge_core._protocol.call_chains import joined
from rabibridge_core._services.classes import slots_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["Served", "ServicePlaces", "held_places"]

_drawing = threading.Lock()


class Served(Protocol):
    """What runs a service."""

    @property
    def schema(self) -> ServiceSchema:
        """The service."""
        ...

    @property
    def active(self) -> Collection[ActiveRequest]:
        """The requests that run or wait."""
        ...


class ServicePlaces:
    """Gives the calls of one service names under which chains list them; only calls that make calls get one."""

    __slots__ = ("_id", "_numbers", "_served")

    def __init__(self, served: Served) -> None:
        """Name the calls of this service."""
        self._served = served
        self._numbers = count(1)
        self._id = ""  # drawn when it is needed: most services make no calls

    def extend(self, chain: str, active: ActiveRequest, /) -> str:
        """Return a chain with this call at its end; may be called from any thread."""
        return joined(chain, active.service, _usable(self._served.schema, _class_of(active)), self._place_of(active))

    def _place_of(self, active: ActiveRequest) -> str:
        place = getattr(active, "place", None)
        if place is None:
            with _drawing:
                place = getattr(active, "place", None)
                if place is None:
                    self._id = self._id or secrets.token_urlsafe(9)
                    place = active.place = f"{self._id}.{next(self._numbers)}"
        return place


def held_places(
    schema: ServiceSchema, runs: Iterable[Served], criticality: str, places: Collection[str]
) -> tuple[int, int]:
    """Return how many places a service has for calls of a class, and how many of these the named calls hold.

    If they hold all, no such call can start before one of them ends.

    Args:
        schema: the service.
        runs: what runs it, and what ran it before it was changed and has not finished yet.
        criticality: the class of the calls; empty, or unknown: the first one.
        places: the names of calls, from their chains.
    """
    index = next((index for index, (name, _) in enumerate(schema.classes) if name == criticality), 0)
    holders = [
        _class_of(active)
        for run in runs
        for active in run.active
        if active.task is not None and not active.over and getattr(active, "place", None) in places
    ]
    of_class = _usable(schema, index), holders.count(index)
    return of_class if of_class[1] >= of_class[0] else (schema.most, len(holders))


def _usable(schema: ServiceSchema, index: int) -> int:
    """Return how many calls of a class a worker runs or fetches at most."""
    if not index or schema.delivery == "at-most-once":
        return schema.most
    return min(schema.most, slots_of(index, schema.most) + schema.fetch_ahead)


def _class_of(active: ActiveRequest) -> int:
    index: int = getattr(active, "class_index", 0)
    return index
