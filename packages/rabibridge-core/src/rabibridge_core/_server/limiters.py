"""Chooses what limits how many requests of a service run at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._server.concurrency import ConcurrencyLimiter
from rabibridge_core._server.fair_limiter import FairLimiter
from rabibridge_core._server.fair_queue import FairQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["limiter_of"]


def limiter_of(
    schema: ServiceSchema, start: Callable[[ActiveRequest], None], active: Collection[ActiveRequest]
) -> ConcurrencyLimiter | None:
    """Return what limits the requests that run; ``None``: the broker delivers no more than may run at a time."""
    if (places := schema.fair_places) is not None:
        return FairQueue(schema.concurrency, places, start, active)
    if schema.fair:
        return FairLimiter(schema.concurrency, start, active)
    if schema.delivery == "at-most-once" or schema.fetch_ahead > 0:
        return ConcurrencyLimiter(schema.concurrency, start)
    return None
