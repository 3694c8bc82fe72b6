"""The bodies of requests and replies: read arguments, and form the reply to a result or an error."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from rabibridge_core._codec.signing import is_signed
from rabibridge_core._protocol.remote_errors import encode_error
from rabibridge_core.errors import ContentRejectedError, SerializationError
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core.transport import Headers, IncomingRequest

__all__ = [
    "StoredReply",
    "UnreadableRequestError",
    "encode_result",
    "failure_reply",
    "key_of",
    "read_arguments",
    "reply_again",
    "reply_headers",
]

_log = logging.getLogger(__name__)
_SEQUENCE = (list, tuple)
_KEY_MAX = 200
_REPLY_CONTEXT = b"reply "
"""What the signature of a reply covers before the correlation id: a request cannot be passed off as a reply."""
_IDEMPOTENT: Headers = {"rb-idempotent": True}
_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple


class StoredReply(NamedTuple):
    """A reply that was sent, and the correlation id of its call: a signed body is valid for that call only."""

    reply: Reply
    correlation_id: bytes


class UnreadableRequestError(Exception):
    """The request could not or may not be read: the cause says why."""


def read_arguments(codec: Codec, request: IncomingRequest) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return positional and keyword arguments.

    Raises:
        UnreadableRequestError: the body is not what it should be, or may not be read.
    """
    try:
        value = codec.decode(request.body, request.content_type, request.content_encoding, request.correlation_id)
    except (SerializationError, ContentRejectedError) as error:
        raise UnreadableRequestError from error
    if isinstance(value, _SEQUENCE) and len(value) == 2:
        args, kwargs = value
        if isinstance(args, _SEQUENCE) and isinstance(kwargs, dict) and (not kwargs or all(map(_is_name, kwargs))):
            return args, kwargs
    raise UnreadableRequestError from SerializationError("the request is not of the form [args, kwargs]")


def _is_name(key: object) -> bool:
    return type(key) is str


def key_of(value: object) -> str:
    """Return the idempotency key that the header ``rb-key`` has.

    Raises:
        UnreadableRequestError: it is not a text of 1 to 200 characters.
    """
    if isinstance(value, str) and 1 <= len(value) <= _KEY_MAX:
        return value
    raise UnreadableRequestError from ContentRejectedError(
        f"the header rb-key is not a text of 1 to {_KEY_MAX} characters"
    )


def reply_headers(idempotent: bool) -> Headers | None:
    """Return the headers that every reply of a service has."""
    return _IDEMPOTENT if idempotent else None


def encode_result(codec: Codec, request: IncomingRequest, result: Any, headers: Headers | None) -> Reply:
    """Return the reply with the handler's result, in the format of the request.

    Raises:
        SerializationError: the result cannot be serialized.
        ContentRejectedError: the result is too large.
    """
    encoded = codec.encode([0, result], _REPLY_CONTEXT + request.correlation_id, request.content_type)
    return _new_tuple(Reply, (*encoded, headers))


def failure_reply(
    codec: Codec, request: IncomingRequest, error: BaseException, kind: str, marks: Headers | None
) -> Reply:
    """Return the reply that describes ``error``; it also has the headers ``marks``."""
    text, headers = encode_error(error, kind)
    content_type = request.content_type if codec.accepts(request.content_type) else None
    context = _REPLY_CONTEXT + request.correlation_id
    try:
        body = codec.encode([1, text], context, content_type)
    except (SerializationError, ContentRejectedError) as unsendable:
        _log.warning("the traceback of a call cannot be sent: %s", unsendable)
        body = codec.encode([1, ""], context, content_type)
    return Reply(*body, headers if marks is None else {**headers, **marks})


def reply_again(codec: Codec, answer: StoredReply, request: IncomingRequest) -> Reply:
    """Return the stored reply of another call as a reply to ``request``; a signed body is signed again."""
    reply = answer.reply
    if answer.correlation_id == request.correlation_id or not is_signed(reply.content_type):
        return reply
    value = codec.decode(reply.body, reply.content_type, reply.content_encoding, _REPLY_CONTEXT + answer.correlation_id)
    return Reply(*codec.encode(value, _REPLY_CONTEXT + request.correlation_id, reply.content_type), reply.headers)
