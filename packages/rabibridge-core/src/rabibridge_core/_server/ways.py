"""How requests of a service are decoded and settled: plain ones, those that stream, those of child processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from rabibridge_core._protocol.payloads import decode_request
from rabibridge_core._protocol.stream_payloads import decode_stream_request
from rabibridge_core._server.forwarding import ForwardingSettler, leave_encoded
from rabibridge_core._server.settlement import RequestSettler
from rabibridge_core._server.stream_settlement import StreamSettler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._server.stream_sessions import StreamSessions
    from rabibridge_core._services.schema import ServiceSchema

    Decode: TypeAlias = Callable[..., tuple[Sequence[Any], dict[str, Any]]]

__all__ = ["ways_of"]


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
