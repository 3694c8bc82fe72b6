"""The server for RabbitMQ."""

from __future__ import annotations

from rabibridge._api.base import RMQBase
from rabibridge_core._api.server import RpcServer

__all__ = ["RMQServer"]


class RMQServer(RMQBase, RpcServer):
    """Offers functions to clients, over RabbitMQ.

    Every call runs in its own task (or thread, if the function is not async), at most ``fetch_size`` of a service at a
    time. A call is acknowledged after its reply was sent: if the process dies before that, another server gets the
    call. Functions registered with ``delivery="at-most-once"`` are acknowledged before they start.

    Example::

        server = RMQServer()
        server.load_services(globals())
        async with server:
            await server.run_serve()
    """
