"""The bodies of requests and replies: ``[args, kwargs]``, ``[0, result]`` and ``[1, traceback]``.

Each body is bound to its call by a context that goes into the signature of signed bodies: the correlation id, with a
prefix for replies, so that a reply is never taken for a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rabibridge_core._codec.failures import SerializerFaultError
from rabibridge_core._codec.places import find_unencodable
from rabibridge_core._codec.receiving import LargeBodyError
from rabibridge_core._codec.signing import is_signed
from rabibridge_core._protocol.accept_encoding import as_accepted
from rabibridge_core._protocol.headers import ERROR_KIND, IDEMPOTENCY_KEY, IDEMPOTENT, is_idempotency_key
from rabibridge_core._protocol.remote_errors import EXECUTION, MALFORMED_REPLY, decode_error, encode_error
from rabibridge_core._protocol.service_errors import declared_headers, is_slow_at_first
from rabibridge_core.errors import ContentRejectedError, SerializationError
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._protocol.remote_errors import RemoteTraceback
    from rabibridge_core.transport import Headers, IncomingRequest, Request

__all__ = [
    "StoredReply",
    "StreamRequestError",
    "UnreadableRequestError",
    "decode_reply",
    "decode_request",
    "encode_failure",
    "encode_request",
    "encode_result",
    "item_error",
    "read_idempotency_key",
    "readdress_reply",
    "readdress_request",
    "reply_headers",
    "stream_arguments",
]

_SEQUENCE = (list, tuple)
_SUCCESS, _FAILURE = 0, 1
_IDEMPOTENT: Headers = {IDEMPOTENT: True}
_new_tuple = tuple.__new__  # takes half the time of a NamedTuple's constructor
_REPLY = b"reply "
"""Precedes the correlation id in the context of a reply."""


class StoredReply(NamedTuple):
    """A reply, and the call that it was made for: a signed body is valid for that call alone."""

    reply: Reply
    correlation_id: bytes


class UnreadableRequestError(Exception):
    """The request could not be read, or must not be read; the cause says why."""


class StreamRequestError(Exception):
    """The body says that its caller wants a stream, or feeds an argument.

    Attributes:
        arguments: the positional and keyword arguments.
    """

    def __init__(self, arguments: tuple[Sequence[Any], dict[str, Any]]) -> None:
        """Store the arguments."""
        super().__init__("the request asks for a stream, or feeds an argument")
        self.arguments = arguments


def encode_request(
    codec: Codec,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    correlation_id: bytes,
    func_name: str = "",
    *,
    streams: bool = False,
) -> tuple[bytes, str, str | None]:
    """Return body, content type and content encoding of a request.

    Args:
        codec: encodes the arguments.
        args: the positional ones.
        kwargs: the keyword arguments.
        correlation_id: the id of the call.
        func_name: the service, for errors.
        streams: whether the caller wants a stream, or feeds an argument: the body says so.

    Raises:
        SerializationError: the serializer cannot represent the arguments; the text says which of them, and names the
            service.
        ContentRejectedError: the body is too large.
    """
    try:
        return codec.encode([args, kwargs, True] if streams else [args, kwargs], correlation_id)
    except SerializationError as error:
        raise _located(codec, {"args": args, "kwargs": kwargs}, None, f"call of {func_name!r}", error) from error


def readdress_request(codec: Codec, request: Request, correlation_id: bytes) -> Request:
    """Return the same request as another call, of this id: a signed body is valid for one call alone."""
    body = request.body
    if is_signed(request.content_type):
        value = codec.decode(body, request.content_type, request.content_encoding, request.correlation_id)
        body, _, _ = codec.encode(value, correlation_id, request.content_type)
    return request._replace(correlation_id=correlation_id, body=body)


def decode_request(
    codec: Codec, request: IncomingRequest, on_loop: bool = True
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return the positional and keyword arguments of a request.

    Raises:
        LargeBodyError: ``on_loop`` is set, and the body may take so long that a thread must decode it.
        StreamRequestError: its caller wants a stream, or feeds an argument.
        UnreadableRequestError: the body is malformed, or must not be read.
    """
    try:
        value = codec.decode(
            request.body, request.content_type, request.content_encoding, request.correlation_id, on_loop
        )
    except LargeBodyError:
        raise
    except BaseException as error:
        raise UnreadableRequestError from error  # a serializer may raise anything
    if isinstance(value, _SEQUENCE) and len(value) == 2:
        args, kwargs = value
        if isinstance(args, _SEQUENCE) and isinstance(kwargs, dict) and (not kwargs or all(map(_is_name, kwargs))):
            return args, kwargs
    raise StreamRequestError(stream_arguments(value))


def stream_arguments(value: object) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return the arguments in the body of a request that is more than a plain call.

    Raises:
        UnreadableRequestError: it is not one.
    """
    if isinstance(value, _SEQUENCE) and len(value) == 3 and value[2] is True:
        args, kwargs, _ = value
        if isinstance(args, _SEQUENCE) and isinstance(kwargs, dict) and (not kwargs or all(map(_is_name, kwargs))):
            return args, kwargs
    raise UnreadableRequestError from SerializationError("the request is not of the form [args, kwargs]")


def read_idempotency_key(value: object) -> str:
    """Return the idempotency key that a request carries in its header.

    Raises:
        UnreadableRequestError: it is not a text of 1 to 200 characters.
    """
    if is_idempotency_key(value):
        return value
    raise UnreadableRequestError from ContentRejectedError(
        f"the header {IDEMPOTENCY_KEY} of the request is {repr(value)[:80]}; it must be a text of 1 to 200 characters"
    )


def _is_name(key: object) -> bool:
    return type(key) is str


def reply_headers(*, idempotent: bool) -> Headers | None:
    """Return the headers that every reply of a service has."""
    return _IDEMPOTENT if idempotent else None


def _located(
    codec: Codec, values: dict[str, Any], content_type: str | None, what: str, error: SerializationError
) -> SerializationError:
    """Return the error that says which of the values cannot be encoded."""
    for name, value in () if isinstance(error, SerializerFaultError) else values.items():
        found = find_unencodable(lambda part: codec.refusal(part, content_type), value, name)
        if found is not None:
            return SerializationError(f"{what}: {found[0]}: {found[1]}")
    return SerializationError(f"{what}: {error}")


def item_error(
    codec: Codec, request: IncomingRequest, item: object, index: int, error: SerializationError, name: str
) -> SerializationError:
    """Return the error of an item of a stream that cannot be encoded; the text says which part of it."""
    return _located(codec, {"item": item}, request.content_type, f"service {name!r}: item {index}", error)


def encode_result(
    codec: Codec, request: IncomingRequest, result: object, headers: Headers | None, name: str = ""
) -> Reply:
    """Return the reply that carries a result, in the format of the request.

    Raises:
        SerializationError: the serializer cannot represent the result; the text says which part of it, and names the
            service.
        ContentRejectedError: the body is too large.
    """
    try:
        encoded = codec.encode([_SUCCESS, result], _REPLY + request.correlation_id, request.content_type)
    except SerializationError as error:
        raise _located(codec, {"result": result}, request.content_type, f"service {name!r}", error) from error
    reply: Reply = _new_tuple(Reply, (*encoded, headers))
    return reply if encoded[2] is None else as_accepted(codec, request, reply)


def encode_failure(
    codec: Codec,
    request: IncomingRequest,
    error: BaseException,
    kind: str,
    headers: Headers | None,
    *,
    remark: str = "",
    told: RemoteTraceback = "full",
    unsendable: Callable[[BaseException], None],
) -> Reply:
    """Return the reply that reports ``error``. It raises nothing.

    Args:
        codec: encodes the traceback. If it cannot, the body is empty, and the headers alone tell the failure.
        request: the request to reply to.
        error: what was raised.
        kind: where it was raised.
        headers: headers in addition to those that describe the error.
        remark: the message to report if the exception has none.
        told: how much the caller is told.
        unsendable: called with the error of a serializer that cannot encode the traceback.
    """
    text, error_headers = encode_error(error, kind, remark, told)
    context, content_type = _REPLY + request.correlation_id, None
    body: tuple[bytes, str | None, str | None] = (b"", None, None)
    try:
        content_type = request.content_type if codec.accepts(request.content_type) else None
        body = codec.encode([_FAILURE, text], context, content_type)
    except BaseException as cannot:  # noqa: BLE001 - a serializer may raise anything; the caller must get a reply
        unsendable(cannot)
        try:
            body = codec.encode([_FAILURE, ""], context, content_type)
        except BaseException as cannot_either:  # noqa: BLE001 - as above
            unsendable(cannot_either)
    declared = declared_headers(error, body[1], unsendable) if kind == EXECUTION and told != "none" else {}
    reply = Reply(*body, {**error_headers, **declared, **(headers or {})})
    return as_accepted(codec, request, reply, must_fit=False)


def decode_reply(codec: Codec, reply: Reply, func_name: str, correlation_id: bytes, on_loop: bool = True) -> Any:
    """Return the result that a reply carries.

    Raises:
        LargeBodyError: ``on_loop`` is set, and the body may take so long that a thread must decode it.
        RemoteExecutionError: the reply reports a failure, or is malformed. The headers of a failure are enough.
        ConnectionLostError: the reply says that the worker of an at-most-once service is gone.
        SerializationError: the body cannot be decoded.
        ContentRejectedError: the body must not be read.
    """
    body, content_type, content_encoding, headers = reply
    try:
        value = codec.decode(body, content_type, content_encoding, _REPLY + correlation_id, on_loop)
    except (SerializationError, ContentRejectedError) as unreadable:
        if not headers or ERROR_KIND not in headers:
            raise
        error = _failure(None, headers, func_name, correlation_id, on_loop)
        error.add_note(f"The body of this reply, which has the traceback, cannot be read: {unreadable}")
        raise error from unreadable
    if type(value) is list and len(value) == 2:
        code, result = value
        if code == _SUCCESS:
            return result
        if code == _FAILURE:
            raise _failure(result, headers or {}, func_name, correlation_id, on_loop)
    if not headers or ERROR_KIND not in headers:
        headers = {ERROR_KIND: MALFORMED_REPLY}
    raise _failure(None, headers, func_name, correlation_id, on_loop)


def _failure(result: Any, headers: Headers, func_name: str, correlation_id: bytes, on_loop: bool) -> Exception:
    if on_loop and is_slow_at_first(headers):
        raise LargeBodyError
    return decode_error(result, headers, func_name, correlation_id.decode())


def readdress_reply(codec: Codec, stored: StoredReply, request: IncomingRequest) -> Reply:
    """Return the reply to ``request`` that repeats what was answered to another call."""
    reply = stored.reply
    if stored.correlation_id == request.correlation_id or not is_signed(reply.content_type):
        return as_accepted(codec, request, reply, must_fit=False)
    value = codec.decode(reply.body, reply.content_type, reply.content_encoding, _REPLY + stored.correlation_id)
    return Reply(*codec.encode(value, _REPLY + request.correlation_id, reply.content_type), reply.headers)
