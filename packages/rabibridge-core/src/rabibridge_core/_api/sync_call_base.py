"""What every way of calling by a thread that waits needs: the connection, and the options to call with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

from rabibridge_core._api.sync_progress import wanted_reports
from rabibridge_core._api.sync_uploads import is_drawn_here
from rabibridge_core._api.sync_waiting import call_with_thread
from rabibridge_core._client.options import NOTHING_GIVEN, GivenOptions
from rabibridge_core._client.targets import as_listed_by, explain_options
from rabibridge_core._client.upload_arguments import find_upload
from rabibridge_core.errors import InvalidArgumentsError, RemoteExecutionError, SerializationError

if TYPE_CHECKING:
    from rabibridge_core._api.sync_connection_calls import ConnectionCalls
    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.targets import CallTarget
    from rabibridge_core._client.upload_arguments import UploadArgument
    from rabibridge_core._protocol.naming import FunctionKind

__all__ = ["SyncCallBase"]


class SyncCallBase(ABC):
    """Base class of a synchronous client and of its views with other options."""

    __slots__ = ()

    _given: GivenOptions = NOTHING_GIVEN
    """The options that were chosen; a client has none."""

    @abstractmethod
    def _prepare(self, kind: FunctionKind) -> tuple[ConnectionCalls, AnyOptions]:
        """Return the connection of this process, and the options of a call of a function of that kind."""

    @abstractmethod
    def _view(self, given: GivenOptions) -> SyncCallBase:
        """Return a view with these options over those that were chosen before."""

    def _run(
        self,
        connection: ConnectionCalls,
        name: str,
        args: tuple[Any, ...] | list[Any],
        kwargs: dict[str, Any],
        options: AnyOptions,
    ) -> Any:
        if wanted_reports(options) is None:
            return connection.call(name, args, kwargs, options)
        return call_with_thread(
            connection, lambda chosen, _: connection.remote_call(name, args, kwargs, chosen), name, options
        )

    def _feed(
        self, connection: ConnectionCalls, func: object, name: str, found: UploadArgument, options: AnyOptions
    ) -> Any:
        call = partial(connection.call_with_upload, func, name, found)
        if is_drawn_here(found) or wanted_reports(options) is not None:
            return call_with_thread(connection, call, name, options, found)
        return connection.run(call, options, None)

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
            result = self._feed(connection, func, name, found, options)
        except InvalidArgumentsError as error:
            explain_options(error, kwargs)
            raise
        except RemoteExecutionError as error:
            if error.code is None:
                raise
            raise as_listed_by(func, error) from error.__cause__
        return result if adapt is None or type(result) in adapt.exact else adapt(result)
