"""Stubs: remote functions as callables with the signatures of the functions."""

from __future__ import annotations

from typing import Generic, ParamSpec, TypeVar

from rabibridge_core._api.call_base import CallBase
from rabibridge_core._api.stub_base import NoClient, StubBase
from rabibridge_core._client.stream_opening import call_with_upload
from rabibridge_core._client.targets import as_listed_by, explain_options, target_of
from rabibridge_core._client.upload_arguments import find_upload
from rabibridge_core._codec.annotations import result_adapter
from rabibridge_core.errors import RemoteExecutionError, SerializationError

__all__ = ["NoAsyncClient", "Stub"]

P = ParamSpec("P")
R = TypeVar("R")


class NoAsyncClient(NoClient, CallBase):
    """In the place of the client of a stub that was unpickled."""

    __slots__ = ()


class Stub(StubBase[CallBase], Generic[P, R]):
    """A function on a server, as a callable with the signature of the function; made by ``client.stub``.

    ``await stub(1, 2)`` calls the function as ``client.call`` does, with the options of the stub. A stub is immutable,
    may be shared by all tasks on the event loop of its client, and costs as little as a view of the client.

    A stub can be pickled if its function can, that is if it is defined at the top of a module. Its client stays behind:
    :meth:`bind` gives the stub that arrives another one.
    """

    __slots__ = ()

    _find = staticmethod(target_of)
    _adapter = staticmethod(result_adapter)
    _no_client = NoAsyncClient

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function on one of the servers and return its result.

        Raises:
            ConfigurationError: the stub was unpickled, and is not bound to a client yet.
            RabiBridgeError: as in ``client.call``.
        """
        name, kind, adapt = self._target
        client, options = self._calls._prepare(kind)
        try:
            result: R = await client.call(name, args, kwargs, options)
        except RemoteExecutionError as error:
            if error.code is None:
                explain_options(error, kwargs)
                raise
            raise as_listed_by(self, error) from error.__cause__
        except SerializationError:
            found = find_upload(args, kwargs)
            if found is None:
                raise
        else:
            return result if adapt is None or type(result) in adapt.exact else adapt(result)
        result = await call_with_upload(client, self, name, found, options)
        return result if adapt is None or type(result) in adapt.exact else adapt(result)
