"""The synchronous client for RabbitMQ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from rabibridge._api.client import RMQClient
from rabibridge_core._api.sync_client import SyncRpcClient

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Sequence

    from rabibridge._api.base import ConnectionOptions
    from rabibridge_core._client.retry import RetryRefused

    _Login = tuple[str | Sequence[str] | None, int | None, str | None, str | None]

__all__ = ["Client"]


class _Given:
    """The arguments of a client, passwords included, which no repr and no dump of attributes shows."""

    __slots__ = ("fields", "options")

    def __init__(self, fields: _Login, options: ConnectionOptions) -> None:
        self.fields = fields
        self.options = options


class Client(SyncRpcClient):
    """Calls functions that servers offer, over RabbitMQ, from code that is not async.

    Each call blocks its thread until it has ended. The calls are those of :class:`RMQClient`, with the same arguments
    and errors; an event loop in a thread of its own makes them. One client per process is enough: it may be made at
    module level, and any number of threads may use it at once. The first call connects.

    After a fork the child connects by itself, and never touches the connection of its parent. In a function that is
    itself being called, it takes over the deadline and the headers of that call. If a thread is interrupted while it
    waits, by Ctrl-C for example, its call is cancelled. In a thread that runs an event loop it refuses to block, except
    in a cell of a Jupyter notebook. It closes by itself when the program ends.

    Example::

        client = Client()
        print(client.remote_call("fibonacci", (10,), timeout=5))
    """

    def __init__(
        self,
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        *,
        retry: RetryRefused | None = None,
        loop_factory: Callable[[], AbstractEventLoop] | None = None,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        """Collect the settings, as :class:`RMQClient` does.

        Args:
            host: one host or several.
            port: port of the hosts that have none of their own.
            username: user name.
            password: password.
            retry: how calls are sent again that a full queue refuses; ``None``: not at all.
            loop_factory: makes the event loop; ``None``: uvloop's if that is installed, else asyncio's.
            **connection: ``url``, ``virtualhost``, ``ssl``, ``tls_ca_file``, ``tls_cert_file``, ``tls_key_file``,
                ``tls_key_password``, ``tls_server_name``, ``auth_mechanism``, ``serializer``, ``accept``,
                ``transport``, ``name``, ``namespace`` and ``settings``.

        Raises:
            ConfigurationError: a setting is missing or wrong, or gevent or eventlet has replaced the threads of Python.
        """
        self._login = _Given((host, port, username, password), connection)
        del password, connection  # an error carries this frame, whose variables may be reported
        self._begin(retry, loop_factory)

    def _make_client(self) -> RMQClient:
        # Nothing is unpacked into variables here: an error carries this frame, too.
        return RMQClient(None, *self._login.fields, retry=self._retry, **self._login.options)
