"""The synchronous client: the calls of RpcClient for threads without an event loop, over any transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack

from rabibridge_core._api.client import RpcClient
from rabibridge_core._api.sync_client_base import SyncClientBase
from rabibridge_core._api.sync_connection import SyncConnection
from rabibridge_core._api.sync_introspection import SyncIntrospectionCalls
from rabibridge_core._client.options import with_rare_options
from rabibridge_core._observability.call_context import current_call_var, inherited_headers
from rabibridge_core.errors import RabiBridgeError, RemoteExecutionError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from datetime import timedelta

    from rabibridge_core._api.base import RpcOptions
    from rabibridge_core._client.hedge import AnyHedge
    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core._protocol.naming import FunctionKind
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import ConnectionState, Headers

__all__ = ["SyncRpcClient"]


class SyncRpcClient(SyncClientBase[SyncConnection], SyncIntrospectionCalls):
    """Calls functions that servers offer, from code that is not async: each call blocks its thread until it has ended.

    It is for scripts, notebooks, and applications in Flask, Django or the like. Its calls are those of
    :class:`RpcClient`, with the same errors; an event loop in a thread of its own makes them. One client per process is
    enough: it may be made at module level, and any number of threads may use it at once. The first call connects.

    After a fork the child connects by itself, and never touches the connection of its parent. In a function that is
    itself being called, it takes over the deadline and the headers of that call. If a thread is interrupted while it
    waits, by Ctrl-C for example, its call is cancelled. In a thread that runs an event loop it refuses to block, except
    in a cell of a Jupyter notebook. It closes by itself when the program ends.
    """

    def __init__(
        self,
        *,
        retry: RetryRefused | None = None,
        loop_factory: Callable[[], AbstractEventLoop] | None = None,
        **options: Unpack[RpcOptions],
    ) -> None:
        """Collect the settings.

        Args:
            retry: how calls are sent again that a full queue refuses; ``None``: not at all.
            loop_factory: makes the event loop; ``None``: uvloop's if that is installed, else asyncio's.
            **options: the arguments of :class:`RpcBase`.

        Raises:
            ConfigurationError: a setting is missing or wrong, or gevent or eventlet has replaced the threads of Python.
        """
        self._options = options
        del options  # an error carries this frame, whose variables may be reported
        self._begin(retry, loop_factory)

    def _make_client(self) -> RpcClient:
        """Return a new client that is not connected, with the arguments of this one."""
        return RpcClient(retry=self._retry, **self._options)

    def _new_connection(self) -> SyncConnection:
        return SyncConnection(self._make_client(), self._loop_factory)

    def __repr__(self) -> str:
        """Show the brokers and the state of the connection."""
        if not hasattr(self, "_of_process"):
            return f"<{type(self).__name__}, not initialized>"
        where = ", ".join(map(str, self.settings.endpoints))
        return f"<{type(self).__name__} {self.name!r} {where} {self.state.value}>"

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self._connection.client.settings

    @property
    def state(self) -> ConnectionState:
        """The state of the connection of this process; idle before the first call."""
        return self._here.client.state

    @property
    def last_error(self) -> Exception | None:
        """The last error of the connection: why there is none. ``None`` while it is up."""
        return self._here.client.last_error

    def remote_call(
        self,
        func_name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: dict[str, Any] = {},  # noqa: B006 - it is never changed
        ftype: FunctionKind = "async",
        *,
        timeout: float | timedelta | None = None,
        idempotent: bool = False,
        idempotency_key: str | None = None,
        persistent: bool = False,
        inherit_deadline: bool = True,
        retry: RetryRefused | Literal[False] | None = None,
        headers: Headers | None = None,
        hedge: AnyHedge | None = None,
    ) -> Any:
        """Call ``func_name(*args, **kwargs)`` on one of the servers, wait, and return its result.

        The arguments and the errors are those of :meth:`RpcClient.remote_call`. The timeout includes the time to
        connect, if this is the first call.

        Raises:
            RabiBridgeError: as :meth:`RpcClient.remote_call`, one for each way in which a call can fail.
            ConfigurationError: this thread runs an event loop, which the call would block.
            TypeError: ``args`` is not a tuple or list, or ``kwargs`` is not a dict with texts as keys.
        """
        again = self._retry if retry is None else None if retry is False else retry
        if current_call_var.get() is not None:
            headers = inherited_headers(headers)
        if hedge is not None:
            headers = with_rare_options(headers, None, hedge)
        options = (ftype, timeout, idempotent, idempotency_key, persistent, inherit_deadline, again, headers)
        connection = self._here
        return connection.call(func_name, args, kwargs, options)

    def try_remote_call(
        self,
        func_name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: dict[str, Any] = {},  # noqa: B006 - it is never changed
        ftype: FunctionKind = "async",
        *,
        timeout: float | timedelta | None = None,
        idempotent: bool = False,
        idempotency_key: str | None = None,
        persistent: bool = False,
        inherit_deadline: bool = True,
        retry: RetryRefused | Literal[False] | None = None,
        headers: Headers | None = None,
        hedge: AnyHedge | None = None,
    ) -> tuple[bool, tuple[int, Any]]:
        """Call like :meth:`remote_call`, with the same arguments, but return failures instead of raising them.

        Returns:
            ``(success, (err_code, result))``, as :meth:`RpcClient.try_remote_call` does.

        Raises:
            TypeError: ``args`` is not a tuple or list, or ``kwargs`` is not a dict with texts as keys.
        """
        try:
            result = self.remote_call(
                func_name,
                args,
                kwargs,
                ftype,
                timeout=timeout,
                idempotent=idempotent,
                idempotency_key=idempotency_key,
                persistent=persistent,
                inherit_deadline=inherit_deadline,
                retry=retry,
                headers=headers,
                hedge=hedge,
            )
        except RemoteExecutionError as error:
            return True, (1, error)
        except RabiBridgeError as error:
            return False, (1, error)
        return True, (0, result)
