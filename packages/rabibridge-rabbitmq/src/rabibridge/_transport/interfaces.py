"""What lower modules of this package use of a consumer, as protocols, so that they need not import it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from rabibridge._amqp.properties import Properties
    from rabibridge._connection.session import Session
    from rabibridge_core.transport import ConsumerEvents, Reply, ServiceQueue

__all__ = ["Done", "ServedQueue"]

Done: TypeAlias = Callable[[Exception | None], None]
"""Called with ``None`` once the broker has confirmed a message, or with the reason why it is not in its queue."""


class ServedQueue(Protocol):
    """A service queue that is being consumed."""

    @property
    def queue(self) -> ServiceQueue:
        """The queue and its limits."""
        ...

    @property
    def events(self) -> ConsumerEvents:
        """Where requests and losses are reported."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether it takes no more requests."""
        ...

    @property
    def open_on(self) -> Session | None:
        """The connection on which it consumes now, ``None`` if it does not."""
        ...

    def probe(self, reply_to: bytes) -> None:
        """Find out whether a caller is still connected."""
        ...

    def reply_late(self, properties: Properties, reply: Reply) -> None:
        """Reply to an accepted request whose channel is closed, on the current channel or on the next one."""
        ...

    def spawn(self, operation: Coroutine[Any, Any, None]) -> None:
        """Run an operation on a channel in the background; the connection is not closed before it ends."""
        ...
