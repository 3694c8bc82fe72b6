"""The server for RabbitMQ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from rabibridge._api.base import RMQBase
from rabibridge_core._api.lifespan import check_lifespan
from rabibridge_core._api.server import RpcServer
from rabibridge_core._services.access import check_policy

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from rabibridge._api.base import ConnectionOptions
    from rabibridge_core._api.lifespan import Lifespan
    from rabibridge_core._services.access import Policy

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

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        *,
        lifespan: Lifespan | None = None,
        policy: Policy | None = None,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        """Collect the settings: those of :class:`RMQBase`, and two more.

        Args:
            loop: as in :class:`RMQBase`, like all that follow.
            host: one host or several.
            port: port of the hosts that have none of their own.
            username: user name.
            password: password.
            lifespan: what surrounds serving: a function that takes the server and returns an async context manager, as
                ``contextlib.asynccontextmanager`` makes it, or an async generator function. It is entered before the
                first call is taken, and left after the last one was answered; an error that it raises ends serving.
                What it yields, one object or a tuple of several, goes to parameters that :func:`Depends` marks.
            policy: decides which calls are admitted, in addition to ``allow=`` of the services: a function, async or
                not, that takes the name of the service, the user of the caller (empty: not known) and the headers of
                the call. Unless it returns ``True``, the caller gets AccessDeniedError before its arguments are looked
                at; so it does if the policy raises, which is logged. ``None``: no policy.
            **connection: ``url``, ``virtualhost``, ``ssl``, ``tls_ca_file``, ``tls_cert_file``, ``tls_key_file``,
                ``tls_key_password``, ``tls_server_name``, ``auth_mechanism``, ``serializer``, ``accept``,
                ``transport``, ``name``, ``namespace`` and ``settings``.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        try:
            check_lifespan(lifespan)
            self._policy = check_policy(policy)
            super().__init__(loop, host, port, username, password, **connection)
        except BaseException:
            del password, connection  # the error carries this frame, whose variables may be reported
            raise
        self._lifespan = lifespan
