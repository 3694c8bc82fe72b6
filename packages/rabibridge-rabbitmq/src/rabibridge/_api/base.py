"""What :class:`RMQClient` and :class:`RMQServer` have in common: the connection arguments of RabbitMQ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict

from rabibridge.settings import RABBITMQ
from rabibridge_core._api.arguments import check_namespace_argument
from rabibridge_core._api.base import RpcBase, needs_broker
from rabibridge_core._concurrency.home_loop import running_loop
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings import load_settings

if TYPE_CHECKING:
    import asyncio
    import os
    import ssl as _ssl
    from collections.abc import Sequence

    from rabibridge_core._codec.serializers import Serializer
    from rabibridge_core.settings import Secret, Settings
    from rabibridge_core.transport import Transport

__all__ = ["ConnectionOptions", "RMQBase"]


class ConnectionOptions(TypedDict, total=False):
    """The keyword-only arguments of :class:`RMQBase`."""

    url: str | Sequence[str] | None
    virtualhost: str | None
    ssl: _ssl.SSLContext | bool | None
    tls_ca_file: str | os.PathLike[str] | None
    tls_cert_file: str | os.PathLike[str] | None
    tls_key_file: str | os.PathLike[str] | None
    tls_key_password: str | Secret | None
    tls_server_name: str | None
    auth_mechanism: Literal["plain", "external"] | None
    serializer: str | Serializer | None
    accept: Sequence[str | Serializer] | None
    transport: Transport | None
    name: str | None
    namespace: str | None
    settings: Settings | None


class RMQBase(RpcBase):
    """What a client and a server have in common: settings, one connection to RabbitMQ, connecting and closing.

    Each setting is taken from the argument if it is given, else from the environment, else from the configuration file;
    docs/configuration.md lists them all. Nothing is connected before :meth:`connect`. Objects of this class itself only
    connect.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        *,
        url: str | Sequence[str] | None = None,
        virtualhost: str | None = None,
        ssl: _ssl.SSLContext | bool | None = None,
        tls_ca_file: str | os.PathLike[str] | None = None,
        tls_cert_file: str | os.PathLike[str] | None = None,
        tls_key_file: str | os.PathLike[str] | None = None,
        tls_key_password: str | Secret | None = None,
        tls_server_name: str | None = None,
        auth_mechanism: Literal["plain", "external"] | None = None,
        serializer: str | Serializer | None = None,
        accept: Sequence[str | Serializer] | None = None,
        transport: Transport | None = None,
        name: str | None = None,
        namespace: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Collect the settings.

        Args:
            loop: the event loop that :meth:`connect` will run on; another one is an error then. ``None``: any. It
                exists for compatibility only.
            host: one host, several separated by commas, or a list; each may have its own ``:port``. The first one that
                can be reached is used.
            port: port of the hosts that have none of their own.
            username: user name.
            password: password. It never appears in a repr, a log or an error.
            url: ``amqp://user:password@host:port/virtualhost``, or several; instead of the four arguments before.
            virtualhost: virtual host; ``None``: as configured, else ``/``.
            ssl: ``True`` for TLS, or an :class:`ssl.SSLContext`. URLs with ``amqps://`` need none.
            tls_ca_file: certificates of the authorities that may have issued the broker's certificate, in PEM;
                ``None``: as configured, else those that the system trusts. docs/tls.md describes this and what follows.
            tls_cert_file: certificate of this program in PEM, with those of intermediate authorities behind it.
            tls_key_file: private key of that certificate; ``None``: as configured, else in ``tls_cert_file``. All
                files are read for every connection, so that replaced ones are taken.
            tls_key_password: password of the private key, if it is encrypted. It appears nowhere either.
            tls_server_name: host name that the broker's certificate must be for; ``None``: the host.
            auth_mechanism: ``"plain"`` to log in by user name and password, ``"external"`` by the certificate alone;
                ``None``: as configured, else plain.
            serializer: how calls are encoded: ``"msgpack"`` (the default), ``"json"``, ``"pickle"``, ``"cloudpickle"``,
                or one from a plug-in.
            accept: which serializers are accepted in what arrives, by name; ``None``: msgpack, json and ``serializer``.
            transport: a transport to use instead of the configured broker, not connected yet.
            name: the name of this connection on the broker and in logs; ``None``: class, host and
                process id, as in ``RMQClient@host:4711``.
            namespace: the namespace to call or to serve in; ``None``: as configured, else none. Not together with
                ``transport``, which has its own.
            settings: complete settings, as :func:`rabibridge_core.settings.load_settings` returns them; nothing is read
                from elsewhere then. Not together with arguments of the connection.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        connection: dict[str, Any] = {
            "host": host, "port": port, "username": username, "password": password, "url": url,
            "virtualhost": virtualhost, "ssl": ssl, "namespace": namespace,
        }  # fmt: skip
        of_transport: dict[str, Any] = {
            "tls_ca_file": tls_ca_file, "tls_cert_file": tls_cert_file, "tls_key_file": tls_key_file,
            "tls_key_password": tls_key_password, "tls_server_name": tls_server_name, "auth_mechanism": auth_mechanism,
        }  # fmt: skip
        try:
            check_namespace_argument(namespace, settings=None, transport=transport)
            if settings is None:
                settings = load_settings(
                    **connection,
                    serializer=serializer if isinstance(serializer, str) else None,
                    require_broker=needs_broker(transport),
                    transport_name=RABBITMQ.name,
                    arguments=of_transport,
                )
            elif given := [f"{key}=" for key, value in (connection | of_transport).items() if value is not None]:
                raise ConfigurationError(
                    f"settings= stands for the whole configuration: leave out {', '.join(given)}, or give them to "
                    "load_settings()"
                )
        finally:
            # An error carries this frame, whose variables may be reported.
            del url, password, tls_key_password, connection, of_transport
        self.loop = loop
        super().__init__(settings=settings, serializer=serializer, accept=accept, transport=transport, name=name)

    async def connect(self) -> Self:
        """Connect; no effect when connected. Call :meth:`close` afterwards, or use ``async with``.

        A server also declares the queues of its services, so that calls made from now on wait in them.

        Raises:
            ConnectionLostError: no broker could be reached within ``connect_timeout``, or it was closed meanwhile.
            ConfigurationError: the broker refuses permanently, a queue exists with other limits, ``loop`` is not the
                running event loop, it is connected on another one, or no asyncio event loop runs here.
        """
        if self.loop is not None and self.loop is not running_loop(self.name):
            raise ConfigurationError(
                f"loop={self.loop!r} is not the event loop that runs here: leave the argument out, or call connect() "
                "on that loop"
            )
        return await super().connect()
