"""What every way of calling by a thread that waits needs: the connection, and the options to call with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

from rabibridge_core._api.sync_progress import call_with_progress
from rabibridge_core._api.sync_uploads import call_with_drawn, is_drawn_here
from rabibridge_core._client.options import NOTHING_GIVEN, GivenOptions
from rabibridge_core._client.progress import ProgressHeaders
from rabibridge_core._client.targets import as_listed_by, explain_options
from rabibridge_core._client.upload_arguments import find_upload
from rabibridge_core.errors import InvalidArgumentsError, RemoteExecutionError, SerializationError

if TYPE_CHECKING:
    from rabibridge_core._api.sync_connection import SyncConnection
    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.targets import CallTarget
    from rabibridge_core._protocol.naming import FunctionKind

__all__ = ["SyncCallBase"]


class SyncCallBase(ABC):
    """Base class of a synchronous client and of its views with other options."""

    __slots__ = ()

    _given: GivenOptions = NOTHING_GIVEN
    """The options that were chosen; a client has none."""

    @abstractmethod
    def _prepare(self, kind: FunctionKind) -> tuple[SyncConnection, AnyOptions]:
        """Return the connection of this process, and the options of a call of a function of that kind."""

    @abstractmethod
    def _view(self, given: GivenOptions) -> SyncCallBase:
        """Return a view with these options over those that were chosen before."""

    def _run(
        self,
        connection: SyncConnection,
        name: str,
        args: tuple[Any, ...] | list[Any],
        kwargs: dict[str, Any],
        options: AnyOptions,
    ) -> Any:
        headers = options[7]
        if type(headers) is ProgressHeaders:
            return call_with_progress(connection, name, args, kwargs, options, headers)
        return connection.call(name, args, kwargs, options)

    def _call(self, func: object, target: CallTarget, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name, kind, adapt = target
        connection, options = self._prepare(kind)
        try:
            try:
                result = self._run(connection, name, args, kwargs, options)
            except SerializationError:
                found = find_upload(args, kwargs)
                if found is None:
                    raise
            else:
                return result if adapt is None or type(result) in adapt.exact else adapt(result)
            call = partial(connection.call_with_upload, func, name, options)
            result = call_with_drawn(connection, call, found) if is_drawn_here(found) else connection.run(call, found)
        except InvalidArgumentsError as error:
            explain_options(error, kwargs)
            raise
        except RemoteExecutionError as error:
            if error.code is None:
                raise
            raise as_listed_by(func, error) from error.__cause__
        return result if adapt is None or type(result) in adapt.exact else adapt(result)
