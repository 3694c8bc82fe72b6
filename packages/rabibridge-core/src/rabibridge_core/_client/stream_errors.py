"""The errors that end streams: what they say, and what they know about the stream."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from rabibridge_core._client.targets import as_listed_by, explain_options
from rabibridge_core._protocol.headers import ERROR_MESSAGE
from rabibridge_core.errors import (
    CallError,
    CallTimeoutError,
    ConnectionLostError,
    RabiBridgeError,
    RemoteExecutionError,
    ServiceError,
    StreamError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from rabibridge_core._client.stream_state import StreamState
    from rabibridge_core.transport import Headers

    class Called(Protocol):
        """What is known of the call."""

        @property
        def func(self) -> object: ...
        @property
        def func_name(self) -> str: ...
        @property
        def kwargs(self) -> Mapping[str, Any]: ...


__all__ = ["StreamErrors", "again"]


def again(error: BaseException) -> BaseException:
    """Return what to raise for an error that something else keeps: the frames that it passes would keep that."""
    if not isinstance(error, RabiBridgeError):
        return error
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__
    return copied


class StreamErrors:
    """Makes the errors of one stream, and remembers the one that has ended it."""

    def __init__(self, call: Called) -> None:
        """Make the errors of this call."""
        self._call = call
        self._ended_by: BaseException | None = None

    def complete(self, error: BaseException, received: int | None) -> None:
        """Add to the error that ends the stream how many items came before; it may be raised again later.

        ``None``: it was no stream, but a call that feeds an argument.
        """
        if isinstance(error, RabiBridgeError):
            own_field = isinstance(error, ServiceError) and "received" in error.fields
            if received is not None and not own_field:
                error.received = received
            if received and isinstance(error, CallError | ConnectionLostError) and error.executed is False:
                error.executed = None
            self._ended_by = again(error)
        elif isinstance(error, Exception):
            self._ended_by = self._error(f"it has ended with {type(error).__name__} before", received=received or 0)

    def raise_again(self) -> None:
        """Raise the error that has ended the stream, if one has."""
        if self._ended_by is not None:
            raise again(self._ended_by)

    def listed(self, error: RemoteExecutionError) -> RemoteExecutionError:
        """Return the error of the function as the class that the function lists."""
        if error.code is None:
            explain_options(error, self._call.kwargs)
            if error.executed is False and error.error_type.endswith(".SerializationError"):
                error.add_note(
                    "A server of a version without streams and uploads cannot read such a request: update it, or use "
                    "client.call and give values, such as a list."
                )
            return error
        return as_listed_by(self._call.func, error)

    def broken(self, why: str, correlation_id: bytes = b"") -> StreamError:
        """Return the error of a stream whose messages are not those of a stream."""
        return self._error(why, correlation_id)

    def restarted(self, correlation_id: bytes) -> StreamError:
        """Return the error of a stream that a second worker has begun again."""
        return self._error(
            "its worker is gone, and another one has begun it again; the service is not registered with "
            "resumable=True, so that nobody can go on",
            correlation_id,
        )

    def stopped(self, headers: Headers, correlation_id: bytes) -> StreamError:
        """Return the error of a stream whose worker was stopped."""
        message = headers.get(ERROR_MESSAGE)
        why = f": {message}" if message and isinstance(message, str) else ""
        return self._error(
            f"its worker was stopped before it was done{why}; the service is not registered with resumable=True, so "
            "that nobody can go on",
            correlation_id,
        )

    def idle(self, seconds: float, index: int, correlation_id: bytes) -> CallTimeoutError:
        """Return the error of a stream whose next item did not come within its ``idle_timeout``."""
        return CallTimeoutError(
            f"stream of {self._call.func_name!r}: the item {index} did not come within idle_timeout={seconds:g} s",
            func_name=self._call.func_name,
            correlation_id=correlation_id.decode(),
            timeout=seconds,
        )

    def check_total(self, total: int | None, state: StreamState, correlation_id: bytes) -> None:
        """Check that all items have come.

        Raises:
            StreamError: some have not, or the reply is not that of a stream.
        """
        if total == state.next_index:
            return
        if total is not None:
            raise self._error(f"it has {total} items by its end, and {state.next_index} have come", correlation_id)
        if state.address:
            raise self._error("its end does not say how many items it has", correlation_id)
        raise self._error(
            "the function has returned one result; it is not one that gives items, as a generator function does, or "
            "its server cannot stream: use client.call",
            correlation_id,
        )

    def _error(self, why: str, correlation_id: bytes = b"", *, received: int = 0) -> StreamError:
        name = self._call.func_name
        return StreamError(
            f"stream of {name!r}: {why}", func_name=name, correlation_id=correlation_id.decode(), received=received
        )
