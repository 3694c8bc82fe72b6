"""Stubs of generator functions for synchronous clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

from rabibridge_core._api.stub_base import StubBase
from rabibridge_core._api.sync_call_base import SyncCallBase
from rabibridge_core._api.sync_streams import make_sync_stream
from rabibridge_core._api.sync_stubs import NoSyncClient
from rabibridge_core._client.stream_targets import HasStreamTarget, stream_target_of
from rabibridge_core._codec.annotations import item_adapter

if TYPE_CHECKING:
    from rabibridge_core._api.sync_streams import SyncStream

__all__ = ["SyncStreamStub"]

P = ParamSpec("P")
R = TypeVar("R")


class SyncStreamStub(StubBase[SyncCallBase], HasStreamTarget, Generic[P, R]):
    """A generator function on a server, with the signature of the function; made by ``client.stub``.

    ``for item in stub(1, 2)`` reads its items as those of ``client.stream``, with the options of the stub. It is
    immutable, may be shared by all threads, works after a fork, and is pickled and bound to another client as a
    :class:`SyncStub`.
    """

    __slots__ = ()

    _find = staticmethod(stream_target_of)
    _adapter = staticmethod(item_adapter)
    _no_client = NoSyncClient

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> SyncStream[R]:
        """Return a stream of the items of the function, as ``client.stream`` does.

        Raises:
            ConfigurationError: the stub was unpickled, and is not bound to a client yet.
        """
        return make_sync_stream(self._calls, self, self._target, args, kwargs)
