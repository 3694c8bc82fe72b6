"""The life of a synchronous client: its connection in each process, and the end of it."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from rabibridge_core._api.sync_calls import SyncCalls, SyncClientView
from rabibridge_core._api.sync_connection import SyncConnection
from rabibridge_core._api.sync_sharded_connection import SyncShardedConnection
from rabibridge_core._hosting.blocking import check_threads_are_real
from rabibridge_core._observability.call_context import current_call_var, inherited_headers

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from types import TracebackType

    from rabibridge_core._client.options import AnyOptions, GivenOptions
    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core._observability.health import Health
    from rabibridge_core._protocol.naming import FunctionKind

__all__ = ["SyncClientBase"]

ConnectionT = TypeVar("ConnectionT", SyncConnection, SyncShardedConnection)


class SyncClientBase(SyncCalls, Generic[ConnectionT]):
    """Has one connection in each process, which the first call makes."""

    def _begin(self, retry: RetryRefused | None, loop_factory: Callable[[], AbstractEventLoop] | None) -> None:
        check_threads_are_real(type(self).__name__)
        self._retry = retry
        self._loop_factory = loop_factory
        self._connection: ConnectionT = self._new_connection()
        self._of_process: dict[int, ConnectionT] = {self._connection.pid: self._connection}

    @abstractmethod
    def _new_connection(self) -> ConnectionT:
        """Return a connection of this process that is not connected yet."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse to be pickled."""
        raise TypeError(f"{type(self).__name__} cannot be pickled: make one in each process")

    def __del__(self) -> None:
        """Close without waiting, and warn about an object that was dropped without :meth:`close`."""
        connection: ConnectionT | None = getattr(self, "_connection", None)
        if connection is not None and connection.is_open and connection.pid == os.getpid():
            connection.close_soon()  # the warning may be an error
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=1)

    def _prepare(self, kind: FunctionKind) -> tuple[ConnectionT, AnyOptions]:
        headers = None if current_call_var.get() is None else inherited_headers(None)
        return self._here, (kind, None, False, None, False, True, self._retry, headers)

    def _view(self, given: GivenOptions) -> SyncClientView:
        return SyncClientView(self, given)

    @property
    def _here(self) -> ConnectionT:
        """The connection of this process."""
        connection = self._connection
        return connection if connection.pid == os.getpid() else self._after_fork()

    def _after_fork(self) -> ConnectionT:
        """Return a new connection: that of the parent is left as it is. Whatever thread comes first makes it."""
        connection = self._connection
        if not connection.is_closed:
            fresh = self._new_connection()
            connection = self._of_process.setdefault(fresh.pid, fresh)
            self._connection = connection
        return connection

    @property
    def name(self) -> str:
        """The name of the connection on the broker and in logs. Each process has one of its own."""
        return self._here.client.name

    @property
    def pending(self) -> int:
        """The number of calls that wait for their reply, of all threads."""
        return self._here.client.pending

    def health(self) -> Health:
        """Report whether calls can be sent; if not, the reasons say why. Before the first call they cannot."""
        return self._here.client.health()

    def connect(self) -> Self:
        """Connect; no effect when connected. Calls do it by themselves, except after :meth:`close`.

        It starts the thread, which can be too late when the program is already ending.

        Raises:
            ConnectionLostError: no broker could be reached within ``connect_timeout``, or the program is ending.
            ConfigurationError: the broker refuses permanently, or this thread runs an event loop.
        """
        connection = self._here
        if connection.is_closed:
            connection = self._connection = self._new_connection()
            self._of_process[connection.pid] = connection
        connection.run(connection.connect)
        return self

    def close(self) -> None:
        """Disconnect and end the thread; pending calls of all threads end with ConnectionLostError.

        Their workers are told to stop them, except those made with ``persistent=True``. No effect when closed. Not
        needed at the end of the program. :meth:`connect` may be called again afterwards.

        Raises:
            ConfigurationError: this thread runs an event loop.
        """
        self._here.close()

    def __enter__(self) -> Self:
        """Connect."""
        try:
            return self.connect()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()
