"""How requests of a service are decoded, run and settled: plain ones, those that stream, those of child processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from rabibridge_core._protocol.payloads import decode_request
from rabibridge_core._protocol.stream_payloads import decode_stream_request
from rabibridge_core._server.forwarding import ForwardingSettler, leave_encoded
from rabibridge_core._server.injecting import executor_for
from rabibridge_core._server.run_limit import LimitedExecutor
from rabibridge_core._server.settlement import RequestSettler
from rabibridge_core._server.stream_settlement import StreamSettler
from rabibridge_core._server.streaming import StreamingExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._server.executors import HandlerExecutor
    from rabibridge_core._server.process_scope import ProcessScope
    from rabibridge_core._server.stream_sessions import StreamSessions
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.errors import RunTimeoutError

    Executor: TypeAlias = HandlerExecutor | StreamingExecutor | LimitedExecutor
    Decode: TypeAlias = Callable[..., tuple[Sequence[Any], dict[str, Any]]]

__all__ = ["Executor", "executor_of", "ways_of"]


def ways_of(schema: ServiceSchema, codec: Codec, sessions: StreamSessions | None) -> tuple[Decode, RequestSettler]:
    """Return what decodes requests, and what settles them.

    Args:
        schema: the service.
        codec: decodes arguments and encodes results.
        sessions: the streams and uploads; ``None``: the service has none.
    """
    if schema.executor == "process":
        return leave_encoded, ForwardingSettler(schema, codec)
    if sessions is None:
        return decode_request, RequestSettler(schema, codec)
    return decode_stream_request, StreamSettler(schema, codec, sessions)


def executor_of(
    schema: ServiceSchema,
    process: ProcessScope | None,
    codec: Codec,
    sessions: StreamSessions | None,
    overran: Callable[[ActiveRequest, RunTimeoutError], None],
) -> Executor:
    """Return what runs the function of a service.

    Args:
        schema: the service.
        process: what lives longer than its calls; ``None``: nothing.
        codec: encodes items, and what goes to child processes.
        sessions: the streams and uploads; ``None``: the service has none.
        overran: called with a call that runs longer than the service allows.
    """
    executor = (
        executor_for(schema, process, codec)
        if sessions is None
        else StreamingExecutor(schema, process, codec, sessions)
    )
    if schema.run_timeout is None:
        return executor
    return LimitedExecutor(executor, schema.name, schema.run_timeout, overran)
