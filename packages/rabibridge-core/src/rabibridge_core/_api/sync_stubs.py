"""Stubs of a synchronous client: remote functions that block their thread until they have ended."""

from __future__ import annotations

from typing import Generic, ParamSpec, TypeVar, cast

from rabibridge_core._api.stub_base import NoClient, StubBase
from rabibridge_core._api.sync_call_base import SyncCallBase
from rabibridge_core._client.targets import target_of
from rabibridge_core._codec.annotations import result_adapter

__all__ = ["NoSyncClient", "SyncStub"]

P = ParamSpec("P")
R = TypeVar("R")


class NoSyncClient(NoClient, SyncCallBase):
    """In the place of the client of a stub that was unpickled."""

    __slots__ = ()


class SyncStub(StubBase[SyncCallBase], Generic[P, R]):
    """A function on a server, as a callable with the signature of the function; made by ``client.stub``.

    ``stub(1, 2)`` calls the function as ``client.call`` does, with the options of the stub. A stub is immutable, may be
    shared by all threads, and works after a fork.

    A stub can be pickled if its function can, that is if it is defined at the top of a module. Its client stays behind:
    :meth:`bind` gives the stub that arrives another one.
    """

    __slots__ = ()

    _find = staticmethod(target_of)
    _adapter = staticmethod(result_adapter)
    _no_client = NoSyncClient

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function on one of the servers, wait, and return its result.

        Raises:
            ConfigurationError: the stub was unpickled, and is not bound to a client yet.
            RabiBridgeError: as in ``client.call``.
        """
        return cast("R", self._calls._call(self._func, self._target, args, kwargs))
