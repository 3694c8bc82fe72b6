"""A queue of a service, as operators see it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["QueueState"]


class QueueState(NamedTuple):
    """A queue that exists.

    Attributes:
        name: its name on the broker.
        waiting: messages that wait. Those that consumers hold are not counted.
        consumers: consumers, of which each running worker is one.
    """

    name: str
    waiting: int
    consumers: int
