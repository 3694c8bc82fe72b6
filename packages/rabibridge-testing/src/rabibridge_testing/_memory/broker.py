"""The in-memory broker as a test sees it: a router whose outages and alarms the test controls."""

from __future__ import annotations

from rabibridge_testing._memory.other_threads import on_the_loop
from rabibridge_testing._memory.router import Router
from rabibridge_testing._memory.transport import MemoryTransport

__all__ = ["MemoryBroker"]


class MemoryBroker(Router[MemoryTransport]):
    """A message broker in memory that behaves like RabbitMQ, as far as a transport can tell.

    It stores encoded bytes, and all of its state is in this object. It serves one event loop at a time: all of its
    transports must be connected on the same loop. Using several loops one after another is fine; queues and waiting
    requests are kept. Where that loop runs in another thread, as that of a synchronous client does, the methods of this
    class run there, and are waited for. Requests, replies and refusals arrive in a later turn of the loop than the
    one that sent them.

    Attributes:
        name: the name of the broker, used in errors.
        accepting: whether it accepts connections.
        alarm: why it accepts no requests, ``None`` while it does: see :meth:`block`.
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

    @on_the_loop
    def lose_connection(self, *, restore: bool = True) -> None:
        """Cut all connections.

        Args:
            restore: let transports reconnect at once; ``False``: only after :meth:`restore` is called.
        """
        if not restore:
            self.accepting = False
        for transport in list(self.transports):
            transport.abort(restore=restore)

    def refuse_connections(self) -> None:
        """Accept no new connections until :meth:`restore` is called; existing ones stay."""
        self.accepting = False

    @on_the_loop
    def restore(self) -> None:
        """Accept connections again; transports that have lost theirs reconnect in the next turn of the loop."""
        self.accepting = True
        for transport in self.transports:
            transport.restore_soon()

    @on_the_loop
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

    @on_the_loop
    def block(self, reason: str = "low on memory") -> None:
        """Accept no requests until :meth:`unblock` is called, like a broker that runs out of memory or disk.

        Callers block; if a call times out meanwhile, the error contains ``reason``. Requests that are already in a
        queue are still delivered and answered.
        """
        self.alarm = reason

    @on_the_loop
    def unblock(self) -> None:
        """Accept requests again."""
        self.alarm = None
        for transport in self.transports:
            transport.unblocked()
