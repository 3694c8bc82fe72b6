"""The in-memory broker as a test sees it: a router whose outages and alarms the test controls."""

from __future__ import annotations

from typing import Literal

from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.settings.nearest import nearest
from rabibridge_testing._memory.router import Router
from rabibridge_testing._memory.threads import locked
from rabibridge_testing._memory.transport import MemoryTransport

__all__ = ["MemoryBroker"]

_CLOSED = "406 PRECONDITION_FAILED - by lose_channel()"


class MemoryBroker(Router[MemoryTransport]):
    """A message broker in memory that behaves like RabbitMQ, as far as a transport can tell.

    It stores encoded bytes, and all of its state is in this object. Its transports may be connected on several event
    loops, in several threads of the process, at once or one after another; queues and waiting requests are kept. All
    methods may be called from any thread, on an event loop or not, and have taken effect when they return. Requests,
    replies and refusals arrive in a later turn of the receiver's loop.

    Attributes:
        name: the name of the broker, used in errors.
        accepting: whether it accepts connections.
        alarm: why it accepts no messages, ``None`` while it does: see :meth:`block`.
        max_message_size: the largest body of requests and replies that it accepts, in bytes; ``None``: no limit. A test
            may set it at any time.
        dead_letters: the requests that workers have dead-lettered, each with the reason, the oldest first.
        transports: the transports that are connected, or reconnect as soon as they can.
        undeliverable_replies: the number of replies whose caller had disconnected.
    """

    def __init__(self, name: str = "memory", *, trace: bool = False, max_message_size: int | None = None) -> None:
        """Create an empty broker.

        Args:
            name: the name of the broker, used in errors.
            trace: keep every request and reply in :attr:`traces`; they stay in memory as long as the broker does.
            max_message_size: the largest body that it accepts, in bytes, like the setting of that name of RabbitMQ;
                ``None``: no limit.
        """
        super().__init__(name, trace=trace)
        self.max_message_size = max_message_size

    def transport(self, name: str = "memory transport", *, user: str = "", namespace: str = "") -> MemoryTransport:
        """Return a new transport to this broker, not connected yet.

        Args:
            name: the name of the transport, used in errors.
            user: the user that it belongs to; empty: nobody.
            namespace: the namespace that its services and its requests are in; empty: none.
        """
        return MemoryTransport(self, name, user=user, namespace=namespace)

    @locked
    def lose_connection(self, *, restore: bool = True) -> None:
        """Cut all connections.

        Args:
            restore: let transports reconnect at once; ``False``: only after :meth:`restore` is called.
        """
        if not restore:
            self.accepting = False
        for transport in list(self.transports):
            transport.abort(restore=restore)

    @locked
    def lose_channel(self, service: str | None = None, *, of: Literal["workers", "clients"] = "workers") -> None:
        """Close the channels of workers or of clients, as RabbitMQ does when a request was not settled for too long.

        A worker keeps its connection. It stops the requests of the service that it runs, which return to the queue and
        are delivered again, and receives more on another channel. Accepted requests (at most once) continue.

        A client sends all of its calls on one channel. Without it, it gives up its connection as if that was lost, and
        connects again: its pending calls end with ConnectionLostError, and idempotent ones are sent again.

        Args:
            service: only the channels of this service; ``None``: of all services. Not for clients.
            of: whose channels.

        Raises:
            ValueError: ``of`` is something else, no worker receives requests of ``service``, or clients have none.
        """
        if of not in ("workers", "clients"):
            raise ValueError(f"of is {of!r}; use 'workers' or 'clients'")
        if of == "clients":
            if service is not None:
                raise ValueError("clients send the calls of all services on one channel: leave service out")
            for transport in [one for one in self.transports if one.calls]:
                transport.abort(reason=f"the broker closed channel 1: {_CLOSED}")
            return
        served = {queue.service for queue in self._queues.values() if queue.consumers}
        if service is not None and service not in served:
            near = nearest(service, served)
            hint = f"did you mean {near!r}?" if near else f"served: {', '.join(sorted(served)) or 'nothing'}"
            raise ValueError(f"no worker receives requests of {service!r}: {hint}")
        for transport in list(self.transports):
            transport.lose_channels(service, ConnectionLostError(f"the broker closed channel 1: {_CLOSED}"))

    @locked
    def refuse_connections(self) -> None:
        """Accept no new connections until :meth:`restore` is called; existing ones stay."""
        self.accepting = False

    @locked
    def restore(self) -> None:
        """Accept connections again; transports that have lost theirs reconnect in the next turn of the loop."""
        self.accepting = True
        for transport in self.transports:
            transport.restore_soon()

    @locked
    def restart(self, *, restore: bool = True) -> None:
        """Restart the broker: cut all connections and drop requests, both waiting and being processed.

        Queues are kept, and in them persistent requests and all requests in quorum queues. Dead letters are kept too.

        Args:
            restore: let transports reconnect at once; ``False``: only after :meth:`restore` is called.
        """
        for transport in self.transports:
            transport.withdraw()  # from all of them first, so that none receives what another one returns
        self.lose_connection(restore=restore)
        for queue in self._queues.values():
            queue.forget_transient()

    @locked
    def block(self, reason: str = "low on memory") -> None:
        """Accept no messages until :meth:`unblock` is called, like RabbitMQ when it runs out of memory or disk.

        The first message that a connection sends meanwhile, a call or a reply, stands still, and so does all that
        follows on that connection, also acknowledgements. Only then the client is told: from then on, its further
        calls wait before they are sent, and if one times out, its error contains ``reason``. Requests that are in a
        queue are still delivered, as far as the prefetch of the workers goes.
        """
        self.alarm = reason

    @locked
    def unblock(self) -> None:
        """Accept messages again, and process those that stood still."""
        self.alarm = None
        for transport in list(self.transports):
            transport.unblocked()
