"""The calls that passed through a broker, decoded for assertions in tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from rabibridge_core._codec.codec import Codec
from rabibridge_core._codec.serializers import registry
from rabibridge_core._protocol.broker_texts import too_large
from rabibridge_core._protocol.headers import CRITICALITY, IDEMPOTENCY_KEY, KEY_LEARNED, is_call_header
from rabibridge_core._protocol.naming import FunctionKind
from rabibridge_core._protocol.progress import WANTS_PROGRESS
from rabibridge_core._protocol.remote_errors import decode_error
from rabibridge_core._protocol.streams import (
    INDEX,
    ITEMS,
    PART,
    START,
    STREAM,
    UPLOAD,
    decode_items,
    part_context,
    read_index,
)
from rabibridge_core.errors import ContentRejectedError, SerializationError
from rabibridge_testing._memory.namespaces import key_without

if TYPE_CHECKING:
    from rabibridge_core._codec.serializers import Serializer
    from rabibridge_core.errors import RabiBridgeError
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Headers, Reply, Request
    from rabibridge_testing._memory.messages import CallTrace

__all__ = ["Outcome", "RecordedCall", "codec_of", "decode", "stream_items"]

Outcome: TypeAlias = Literal["pending", "result", "error", "refused", "cancelled", "expired"]


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call as the broker saw it.

    Attributes:
        service: the name of the service.
        args: the positional arguments; empty if the request cannot be decoded, which ``error`` then says.
        kwargs: the keyword arguments.
        outcome: ``"pending"``: no reply was sent so far, as for all notifications, or a stream is not at its end;
            ``"result"``: the worker replied with a result; ``"error"``: the worker replied with an error;
            ``"refused"``: the broker did not accept the call; ``"cancelled"``: its caller gave it up before there was
            a reply; ``"expired"``: its timeout ended before.
        result: the result, of a stream the list of its items; ``None`` unless the outcome is ``"result"``.
        error: the error that the caller gets, if the reply reaches it; ``None`` if there is none.
        timeout: the timeout of the call, in seconds; ``None``: no limit.
        correlation_id: the correlation id of the call.
        kind: which functions the caller has asked for: ``"async"``, ``"sync"`` or ``"any"``.
        criticality: the class that the caller named, or took over from the call in which it was made; ``None``: none.
        idempotent: whether the caller said that running the call twice does no harm.
        idempotency_key: the key of an idempotent call, as its caller chose it, or a key of its own; ``None``: none.
        persistent: whether the call survives a restart of the broker.
        headers: the headers that the caller and its plug-ins gave, without those of RabiBridge.
        stream: whether it was made by ``client.stream``.
        upload: the argument that was fed, as its index or its name; its value is ``None`` here. ``None``: none was.
        wants_progress: whether the caller listens to reports of progress.
        broadcast: whether it went to all workers; ``result`` is that of the first that answered.
    """

    service: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outcome: Outcome
    result: Any
    error: RabiBridgeError | None
    timeout: float | None
    correlation_id: str
    kind: FunctionKind = "any"
    criticality: str | None = None
    idempotent: bool = False
    idempotency_key: str | None = None
    persistent: bool = False
    headers: Headers = field(default_factory=dict)
    stream: bool = False
    upload: int | str | None = None
    wants_progress: bool = False
    broadcast: bool = False


_EARLY = 0.005
"""How much earlier than by the broker's clock the timeout of a call may end, which began before it was sent."""


def codec_of(settings: Settings | None = None) -> Codec:
    """Return a codec that reads every registered serializer, and writes and signs as configured in ``settings``."""
    accept: dict[str, Serializer] = {}
    for serializer in registry:
        accept.setdefault(serializer.content_type, serializer)
    if settings is None:
        return Codec(accept=accept.values(), trust_broker=True)
    own = registry.get(settings.serializer)
    accept[own.content_type] = own
    return Codec.from_settings(settings, serializer=own, accept=accept.values(), trust_broker=True)


def decode(trace: CallTrace, codec: Codec, now: float) -> RecordedCall:
    """Return the call that ``trace`` records; ``now`` is the time on the broker's clock."""
    request = trace.request
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    outcome: Outcome = "pending"
    result: Any = None
    error: RabiBridgeError | None = None
    correlation_id = request.correlation_id.decode("utf-8", "backslashreplace")
    try:
        given, kwargs, *_ = codec.decode(
            request.body, request.content_type, request.content_encoding, request.correlation_id
        )
        args = tuple(given)
    except (SerializationError, ContentRejectedError) as unreadable:
        error = unreadable
    except (TypeError, ValueError):
        error = SerializationError("the request body must have the form [args, kwargs]")
    if trace.refusal is not None:
        refusal, detail = trace.refusal
        outcome, error = "refused", refusal(detail, func_name=trace.service, correlation_id=correlation_id)
    elif trace.too_large is not None:
        outcome, error = "refused", ContentRejectedError(too_large("the request", len(request.body), trace.too_large))
    elif (reply := next((one for one in trace.replies if PART not in (one.headers or {})), None)) is not None:
        result, error = _answer(trace, reply, codec, correlation_id)
        outcome = "result" if error is None else "error"
    elif trace.ends_at is not None and min(now, trace.cancelled_at or now) >= trace.ends_at - _EARLY:
        outcome = "expired"
    elif trace.cancelled_at is not None:
        outcome = "cancelled"
    return RecordedCall(
        trace.service,
        args,
        kwargs,
        outcome,
        result,
        error,
        request.timeout,
        correlation_id,
        broadcast=trace.broadcast,
        **_options(request),
    )


def _options(request: Request) -> dict[str, Any]:
    headers, key = request.headers or {}, key_without(request.routing_key)
    upload = headers.get(UPLOAD)
    return {
        "kind": next((kind for kind in get_args(FunctionKind) if key.startswith((f"{kind}_", f"{kind}:"))), "any"),
        "criticality": headers.get(CRITICALITY),
        "idempotent": IDEMPOTENCY_KEY in headers and not headers.get(KEY_LEARNED),
        "idempotency_key": headers.get(IDEMPOTENCY_KEY),
        "persistent": request.persistent,
        "headers": {name: value for name, value in headers.items() if is_call_header(name, value)},
        "stream": STREAM in headers,
        "upload": int(upload) if isinstance(upload, str) and upload.isdecimal() else upload,
        "wants_progress": headers.get(WANTS_PROGRESS) is True,
    }


def _answer(trace: CallTrace, reply: Reply, codec: Codec, correlation_id: str) -> tuple[Any, RabiBridgeError | None]:
    headers = reply.headers or {}
    try:
        if STREAM in (trace.request.headers or {}) and INDEX in headers:  # it holds the last items
            return stream_items(trace, codec), None
        answer = codec.decode(reply.body, reply.content_type, reply.content_encoding, trace.request.correlation_id)
        if isinstance(answer, list | tuple) and len(answer) == 2 and answer[0] in (0, 1):
            code, value = answer
            if code == 1:
                return None, decode_error(value, headers, trace.service, correlation_id)
            return stream_items(trace, codec) if STREAM in (trace.request.headers or {}) else value, None
    except (SerializationError, ContentRejectedError) as error:
        return None, error
    return None, SerializationError("the reply body must have the form [code, result]")


def stream_items(trace: CallTrace, codec: Codec) -> list[Any]:
    """Return the items of a stream; those of a second run, of a redelivered request, replace the first ones."""
    items: list[Any] = []
    first = read_index(trace.request.headers, START) or 0
    for reply in trace.replies:
        headers = reply.headers or {}
        if headers.get(PART) == ITEMS or (PART not in headers and INDEX in headers):
            index = read_index(reply.headers) or 0
            items[index - first :] = decode_items(
                codec, reply, part_context(trace.request.correlation_id, index), False
            )
    return items
