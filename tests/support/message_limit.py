"""Limits the size of messages on a private RabbitMQ."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tools.broker import Broker

_GET = "{ok, Size} = application:get_env(rabbit, max_message_size), Size."
_SET = "application:set_env(rabbit, max_message_size, {0}), catch persistent_term:put(max_message_size, {0})."


@contextmanager
def message_size_limits(broker: Broker) -> Iterator[Callable[[int], None]]:
    """Provide a function that limits the bodies that channels accept from now on, in bytes, until the end."""
    before = int(broker.ctl("eval", _GET))
    yield lambda size: _set(broker, size)
    _set(broker, before)


def _set(broker: Broker, size: int) -> None:
    broker.ctl("eval", _SET.format(size))
