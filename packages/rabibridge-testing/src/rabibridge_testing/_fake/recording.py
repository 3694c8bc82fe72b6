"""The calls that passed through a broker, decoded for assertions in tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rabibridge_core._codec.codec import Codec
from rabibridge_core._codec.serializers import registry
from rabibridge_core._protocol.broker_texts import too_large
from rabibridge_core._protocol.remote_errors import decode_error
from rabibridge_core.errors import ContentRejectedError, SerializationError

if TYPE_CHECKING:
    from rabibridge_core._codec.serializers import Serializer
    from rabibridge_core.errors import RabiBridgeError
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Reply
    from rabibridge_testing._memory.messages import CallTrace

__all__ = ["Outcome", "RecordedCall", "codec_of", "decode"]

Outcome: TypeAlias = Literal["pending", "result", "error", "refused"]


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call as the broker saw it.

    Attributes:
        service: the name of the service.
        args: the positional arguments; empty if the request cannot be decoded, which ``error`` then says.
        kwargs: the keyword arguments.
        outcome: ``"pending"``: no reply was sent so far, as for all notifications; ``"result"``: the worker replied
            with a result; ``"error"``: the worker replied with an error; ``"refused"``: the broker did not accept the
            call.
        result: the result; ``None`` unless the outcome is ``"result"``.
        error: the error that the caller gets, if the reply reaches it; ``None`` if there is none.
        timeout: the timeout of the call, in seconds; ``None``: no limit.
        correlation_id: the correlation id of the call.
    """

    service: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outcome: Outcome
    result: Any
    error: RabiBridgeError | None
    timeout: float | None
    correlation_id: str


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


def decode(trace: CallTrace, codec: Codec) -> RecordedCall:
    """Return the call that ``trace`` records."""
    request = trace.request
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    outcome: Outcome = "pending"
    result: Any = None
    error: RabiBridgeError | None = None
    correlation_id = request.correlation_id.decode("utf-8", "backslashreplace")
    try:
        given, kwargs = codec.decode(
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
    elif trace.replies:
        result, error = _answer(trace, trace.replies[0], codec, correlation_id)
        outcome = "result" if error is None else "error"
    return RecordedCall(trace.service, args, kwargs, outcome, result, error, request.timeout, correlation_id)


def _answer(trace: CallTrace, reply: Reply, codec: Codec, correlation_id: str) -> tuple[Any, RabiBridgeError | None]:
    try:
        answer = codec.decode(reply.body, reply.content_type, reply.content_encoding, trace.request.correlation_id)
    except (SerializationError, ContentRejectedError) as error:
        return None, error
    if isinstance(answer, list | tuple) and len(answer) == 2 and answer[0] in (0, 1):
        code, value = answer
        if code == 0:
            return value, None
        return None, decode_error(value, reply.headers or {}, trace.service, correlation_id)
    return None, SerializationError("the reply body must have the form [code, result]")
