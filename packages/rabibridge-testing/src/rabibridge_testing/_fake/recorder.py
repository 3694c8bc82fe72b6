"""Makes a recorded conversation of the records of a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._codec.json_serializer import JsonSerializer
from rabibridge_core._codec.msgpack_serializer import MsgpackSerializer
from rabibridge_core._protocol.headers import (
    ERROR_CODE,
    ERROR_FIELDS,
    ERROR_KEY_ID,
    ERROR_KIND,
    ERROR_MESSAGE,
    ERROR_TYPE,
    ERROR_TYPES,
    EXIT_CODE,
)
from rabibridge_core._protocol.progress import is_progress, read_progress
from rabibridge_core._protocol.streams import ITEMS, PART, decode_items, feed_context, read_index
from rabibridge_core._security.signature import ENCRYPTED, ENCRYPTED_TYPE
from rabibridge_core.errors import ContentRejectedError, SerializationError
from rabibridge_core.transport import Reply
from rabibridge_testing._fake.recording import decode, stream_items
from rabibridge_testing._recordings.file import Exchange, RecordingError
from rabibridge_testing._recordings.values import Fed, from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core.transport import Headers, HeaderValue, Request
    from rabibridge_testing._fake.recording import RecordedCall
    from rabibridge_testing._memory.messages import CallTrace
    from rabibridge_testing._recordings.redaction import Redaction

__all__ = ["error_headers", "exchanges_of"]

_ERROR_HEADERS: Final = {
    "kind": ERROR_KIND, "type": ERROR_TYPE, "types": ERROR_TYPES, "message": ERROR_MESSAGE, "code": ERROR_CODE,
    "key_id": ERROR_KEY_ID, "exit_code": EXIT_CODE,
}  # fmt: skip
_FIELDS: Final = "fields"
_TRACING: Final = frozenset({"traceparent", "tracestate", "baggage", "b3", "uber-trace-id"})
"""Headers that are other ones each time."""
_JSON, _MSGPACK = JsonSerializer(), MsgpackSerializer()


def exchanges_of(
    traces: Sequence[CallTrace],
    codec: Codec,
    now: float,
    redaction: Redaction,
    names_of: Callable[[str], Sequence[str]],
) -> list[Exchange]:
    """Return what is written of the calls in these records, without secrets.

    Args:
        traces: the records.
        codec: reads the bodies.
        now: the time on the broker's clock.
        redaction: knows what is secret.
        names_of: returns the names of the positional arguments of a service, as far as they are known.

    Raises:
        RecordingError: a call is encrypted, or has a value that cannot be written.
    """
    found = [_exchange(trace, codec, now) for trace in traces]
    for each in found:
        for value, name in zip(each.args, [*names_of(each.service), *[None] * len(each.args)], strict=False):
            redaction.collect(value, name)
        for part in (each.kwargs, each.headers, each.items, each.result, each.error):
            redaction.collect(part)
    for each in found:
        each.args = redaction.arguments(each.args, names_of(each.service))
        each.kwargs, each.headers = redaction.redacted(each.kwargs), redaction.redacted(each.headers)
        each.progress, each.error = redaction.redacted(each.progress), redaction.redacted(each.error)
        each.items, each.result = redaction.redacted(each.items), redaction.redacted(each.result)
    return found


def _exchange(trace: CallTrace, codec: Codec, now: float) -> Exchange:
    messages: list[Request | Reply] = [trace.request, *trace.replies]
    if any(one.content_type == ENCRYPTED_TYPE or ENCRYPTED in (one.headers or {}) for one in messages):
        raise RecordingError(
            f"calls of {trace.service!r} are encrypted, and are not written to a file that anybody can read: leave the "
            "service out, by services= of record(), or record with workers and clients that do not encrypt"
        )
    call = decode(trace, codec, now)
    try:
        return _written(trace, call, codec)
    except (SerializationError, ContentRejectedError) as error:
        raise RecordingError(f"a call of {trace.service!r} cannot be written: {error}") from error


def _written(trace: CallTrace, call: RecordedCall, codec: Codec) -> Exchange:
    if call.outcome != "refused" and call.error is not None and not trace.replies:
        raise call.error
    exchange = Exchange(
        call.service,
        to_json(list(call.args)),
        {name: to_json(value) for name, value in call.kwargs.items()},
        "broadcast" if call.broadcast else "notify" if trace.notification else "call",
        call.kind,
        {name: to_json(value) for name, value in call.headers.items() if name.lower() not in _TRACING},
    )
    if call.upload is not None:
        _put_upload(exchange, call.upload, _fed_items(trace, codec))
    for reply in trace.replies:
        if is_progress(reply.headers):
            exchange.progress.append(list(read_progress(reply.headers or {})))
    if call.stream and call.outcome != "refused":
        exchange.items = to_json(stream_items(trace, codec))
    if call.outcome == "refused":
        exchange.refused = type(call.error).__name__
    elif call.outcome == "result":
        exchange.result = None if call.stream else [to_json(call.result)]
    elif call.outcome == "error":
        final = next(one for one in trace.replies if PART not in (one.headers or {}))
        exchange.error = _error(final.headers or {}, call)
    elif not trace.notification:
        exchange.unanswered = call.outcome
    return exchange


def _put_upload(exchange: Exchange, place: int | str, items: list[Any]) -> None:
    value = to_json(Fed(items))
    if isinstance(place, int):
        exchange.args[place] = value
    else:
        exchange.kwargs[place] = value


def _fed_items(trace: CallTrace, codec: Codec) -> list[Any]:
    items: list[Any] = []
    for message in trace.fed:
        headers = message.headers or {}
        if headers.get(PART) == ITEMS:
            index = read_index(headers) or 0
            part = Reply(message.body, message.content_type, message.content_encoding, headers)
            items[index:] = decode_items(codec, part, feed_context(trace.request.correlation_id, index), False)
    return items


def _error(headers: Headers, call: RecordedCall) -> dict[str, Any]:
    """Return the headers of an error by their names in the file; the traceback, which is another each time, is not."""
    found: dict[str, Any] = {name: headers[header] for name, header in _ERROR_HEADERS.items() if header in headers}
    fields = headers.get(ERROR_FIELDS)
    if fields:
        found[_FIELDS] = to_json(_JSON.loads(fields.encode()) if isinstance(fields, str) else _read(fields))
    return found or {"kind": "execution", "message": str(call.error)}


def _read(fields: HeaderValue) -> Any:
    if not isinstance(fields, bytes):
        raise SerializationError("the fields of an error are no bytes")
    return _MSGPACK.loads(fields)


def error_headers(error: dict[str, Any]) -> dict[str, HeaderValue]:
    """Return the headers of a recorded error."""
    headers = {header: error[name] for name, header in _ERROR_HEADERS.items() if name in error}
    if _FIELDS in error:
        headers[ERROR_FIELDS] = _MSGPACK.dumps(from_json(error[_FIELDS]))
    return headers
