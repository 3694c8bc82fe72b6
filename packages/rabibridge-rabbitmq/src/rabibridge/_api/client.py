"""The client for RabbitMQ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from rabibridge._api.base import RMQBase
from rabibridge_core._api.client import RpcClient
from rabibridge_core._client.arguments import check_retry

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from rabibridge._api.base import ConnectionOptions
    from rabibridge_core._client.retry import RetryRefused

__all__ = ["RMQClient"]


class RMQClient(RMQBase, RpcClient):
    """Calls functions that servers offer, over RabbitMQ.

    A client is made for many concurrent calls on one event loop, as in a gateway: one client per process is enough. It
    reconnects automatically.

    With RabbitMQ, a QueueFullError is also an ``aio_pika.exceptions.DeliveryError``, and a NoRouteError is also an
    ``aiormq.exceptions.PublishError``.

    Example::

        async with RMQClient() as client:
            print(await client.call(fibonacci, 10))
            print(await client.options(timeout=5).call("fibonacci", 10))
            print(await client.remote_call("fibonacci", (10,), timeout=5))
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        *,
        retry: RetryRefused | None = None,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        """Collect the settings: those of :class:`RMQBase`, and one more.

        Args:
            loop: as in :class:`RMQBase`, like all that follow.
            host: one host or several.
            port: port of the hosts that have none of their own.
            username: user name.
            password: password.
            retry: how calls are sent again that a full queue refuses; ``None``: not at all.
            **connection: ``url``, ``virtualhost``, ``ssl``, ``tls_ca_file``, ``tls_cert_file``, ``tls_key_file``,
                ``tls_key_password``, ``tls_server_name``, ``auth_mechanism``, ``serializer``, ``accept``,
                ``transport``, ``name``, ``namespace`` and ``settings``.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        try:
            check_retry(retry)
            super().__init__(loop, host, port, username, password, **connection)
        except BaseException:
            del password, connection  # the error carries this frame, whose variables may be reported
            raise
        self._retry = retry
