"""Lets nothing but the plan decide what the transport and aiormq do."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from aiormq.abc import TaskWrapper
from aiormq.tools import Countdown

from rabibridge._connection import dialer
from rabibridge._transport.consumer import RabbitConsumer
from rabibridge._transport.service_channel import ServiceChannel
from rabibridge_core._clock import monotonic
from tests.simulation.amqp.loop import dial

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["repeatable_transport"]

_IN_SETS: tuple[Any, ...] = (TaskWrapper, RabbitConsumer, ServiceChannel)
"""Whose objects are in sets, of which the order must not depend on addresses."""
_dialer: Any = dialer
_countdown: Any = Countdown


@contextmanager
def repeatable_transport() -> Iterator[None]:
    """Connect to the simulated broker, and give objects in sets an order, while the block runs."""
    connect, _dialer._connect = _dialer._connect, dial
    numbers, countdown = count(), _countdown
    places: dict[int, tuple[Any, int]] = {}

    def place(one: Any) -> int:
        if id(one) not in places:
            places[id(one)] = one, next(numbers)
        return places[id(one)][1]

    for owner in _IN_SETS:
        owner.__hash__ = place
    now, countdown._now = countdown._now, staticmethod(monotonic)
    try:
        yield
    finally:
        countdown._now = staticmethod(now)
        _dialer._connect = connect
        for owner in _IN_SETS:
            del owner.__hash__
