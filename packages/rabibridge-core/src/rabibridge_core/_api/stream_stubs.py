"""Stubs of generator functions: they return streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

from rabibridge_core._api.call_base import CallBase
from rabibridge_core._api.stream_calls import make_stream
from rabibridge_core._api.stub_base import StubBase
from rabibridge_core._api.stubs import NoAsyncClient
from rabibridge_core._client.stream_targets import HasStreamTarget, stream_target_of
from rabibridge_core._codec.annotations import item_adapter

if TYPE_CHECKING:
    from rabibridge_core._client.stream import Stream

__all__ = ["StreamStub"]

P = ParamSpec("P")
R = TypeVar("R")


class StreamStub(StubBase[CallBase], HasStreamTarget, Generic[P, R]):
    """A generator function on a server, with the signature of the function; made by ``client.stub``.

    ``async for item in stub(1, 2)`` reads its items as those of ``client.stream``, with the options of the stub. It can
    be shared, copied, pickled and bound to another client as a :class:`Stub`.
    """

    __slots__ = ()

    _find = staticmethod(stream_target_of)
    _adapter = staticmethod(item_adapter)
    _no_client = NoAsyncClient

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Stream[R]:
        """Return a stream of the items of the function, as ``client.stream`` does.

        Raises:
            ConfigurationError: the stub was unpickled, and is not bound to a client yet; or as in ``client.stream``.
        """
        return make_stream(self._calls, self, self._target, args, kwargs)
