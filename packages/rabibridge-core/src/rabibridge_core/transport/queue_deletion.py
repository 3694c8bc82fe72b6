"""What some brokers can do with the queue of a service that is no longer served: an optional part of a transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from rabibridge_core.transport.messages import ServiceQueue

__all__ = ["QueueDeleter"]


@runtime_checkable
class QueueDeleter(Protocol):
    """A transport that can delete the queue of a service. Optional."""

    async def delete_unused(self, queue: ServiceQueue, /) -> bool:
        """Delete the queue unless somebody consumes from it or a request waits in it; return whether it is gone.

        While the connection is lost, wait for the next one.

        Raises:
            ConfigurationError: the broker refuses, for example because a permission is missing.
            ConnectionLostError: as :meth:`Transport.declare`.
        """
        ...
