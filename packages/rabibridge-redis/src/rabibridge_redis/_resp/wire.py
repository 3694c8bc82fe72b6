"""The form of what travels: requests in queues, and what is sent to a session.

Both consist of a description, ``meta``, which is an array in MessagePack, and of the body as it is. The first element
is the version of the form. What another version adds at the end is ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack  # type: ignore[import-untyped]

from rabibridge_core._clock import wall
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers, HeaderValue, Request

__all__ = ["FED", "META_MAX", "REPLY", "Envelope", "MalformedError", "decode_message", "decode_request",
           "encode_message", "encode_request", "headers_size", "pack", "to_msgpack", "unpack"]  # fmt: skip

VERSION: Final = 1
REPLY: Final = 1
FED: Final = 2
META_MAX: Final = 128 * 1024
"""The largest description in bytes: as much as RabbitMQ allows. A larger one could become millions of objects."""
_SECONDS_MAX: Final = 2.0**53
_REQUEST_FIELDS: Final = 10
_MESSAGE_FIELDS: Final = 8
_NO_HEADERS: Headers = {}
_NAME_MAX: Final = 255
_NUMBER: Final = 9  # bytes of the largest number, and more than the length of a text takes


class MalformedError(ValueError):
    """What came from the server was not written by RabiBridge, or by a version that this one cannot read."""


class Envelope(NamedTuple):
    """What a request says besides its body."""

    correlation_id: bytes
    reply_to: bytes
    content_type: str | None
    content_encoding: str | None
    timeout: float | None
    deadline: float | None
    headers: Headers
    persistent: bool
    wants_reply: bool


def to_msgpack(value: object) -> bytes:
    """Return a value in MessagePack."""
    return msgpack.packb(value)  # type: ignore[no-any-return]


def encode_request(request: Request, reply_to: bytes, *, wants_reply: bool) -> bytes:
    """Return the description of a request that replies to ``reply_to``.

    Raises:
        ConfigurationError: the headers are too large together.
    """
    timeout = request.timeout
    deadline = None if timeout is None else wall() + timeout
    meta = to_msgpack(
        (
            VERSION, request.correlation_id, reply_to, request.content_type, request.content_encoding, timeout,
            deadline, _plain(request.headers), request.persistent, wants_reply,
        )
    )  # fmt: skip
    if len(meta) > META_MAX:
        raise ConfigurationError(
            f"the headers of a call take {len(meta)} bytes; at most {META_MAX} are sent: send large values as arguments"
        )
    return meta


def decode_request(meta: bytes) -> Envelope:
    """Return what a request says besides its body.

    Raises:
        MalformedError: it is none of ours.
    """
    found = _array(meta, _REQUEST_FIELDS)
    (
        correlation_id, reply_to, content_type, content_encoding, timeout, deadline, headers, persistent, wants_reply,
    ) = found[1:_REQUEST_FIELDS]  # fmt: skip
    if (
        type(correlation_id) is not bytes
        or type(reply_to) is not bytes
        or not _texts(content_type, content_encoding)
        or not _seconds(timeout, deadline)
        or type(persistent) is not bool
        or type(wants_reply) is not bool
    ):
        raise MalformedError("a field of the request has another type")
    return Envelope(
        correlation_id, reply_to, content_type, content_encoding, timeout, deadline, _headers(headers), persistent,
        wants_reply,
    )  # fmt: skip


def encode_message(kind: int, receiver: bytes, correlation_id: bytes, reply: Reply, sender: bytes = b"") -> bytes:
    """Return the description of a reply to a caller, or of a further message of a call from its caller."""
    return to_msgpack(
        (
            VERSION, kind, receiver, correlation_id, reply.content_type, reply.content_encoding,
            _plain(reply.headers), sender,
        )
    )  # fmt: skip


def decode_message(meta: bytes, body: bytes) -> tuple[int, bytes, bytes, Reply, bytes]:
    """Return the kind, the receiver, the correlation id, the reply, and the sender.

    Raises:
        MalformedError: it is none of ours.
    """
    found = _array(meta, _MESSAGE_FIELDS)
    kind, receiver, correlation_id, content_type, content_encoding, headers, sender = found[1:8]
    if not (type(receiver) is type(correlation_id) is type(sender) is bytes and _texts(content_type, content_encoding)):
        raise MalformedError("a field of the message has another type")
    reply = Reply(body, content_type, content_encoding, _headers(headers))
    return kind, receiver, correlation_id, reply, sender


def headers_size(headers: Headers) -> int:
    """Return how many bytes the headers take at most."""
    return sum(_size(name) + _size(value) for name, value in headers.items())


def _size(value: HeaderValue) -> int:
    if isinstance(value, str):
        value = value.encode()
    return _NUMBER + (len(value) if isinstance(value, bytes) else 0)


def _plain(headers: Headers | None) -> dict[str, HeaderValue] | None:
    return headers if headers is None or type(headers) is dict else dict(headers)


def _array(meta: bytes, fields: int) -> list[Any]:
    if len(meta) > META_MAX:
        raise MalformedError(f"its description has {len(meta)} bytes")
    try:
        found = msgpack.unpackb(meta, use_list=True, strict_map_key=True)
    except Exception as error:
        raise MalformedError(f"it is not MessagePack: {error}") from error
    if type(found) is not list or len(found) < fields or found[0] != VERSION:
        raise MalformedError("it has another form")
    return found


def _texts(*values: object) -> bool:
    return all(value is None or (type(value) is str and len(value) <= _NAME_MAX) for value in values)


def _seconds(*values: object) -> bool:
    return all(
        value is None or ((type(value) is int or type(value) is float) and abs(value) <= _SECONDS_MAX)
        for value in values
    )  # NaN is not at most anything


def _headers(value: Any) -> Headers:
    if not value:
        return _NO_HEADERS
    if type(value) is not dict or any(
        type(name) is not str or type(one) not in (str, bytes, int, float, bool) for name, one in value.items()
    ):
        raise MalformedError("the headers have another form")
    return value


def pack(first: bytes, second: bytes) -> bytes:
    """Return two texts as one."""
    return b"%d:%b%b" % (len(first), first, second)


def unpack(packed: bytes) -> tuple[bytes, bytes]:
    """Return the two texts that :func:`pack` has joined.

    Raises:
        MalformedError: it was not made by :func:`pack`.
    """
    length, colon, rest = packed.partition(b":")
    if not (colon and length.isdigit() and len(length) < 10 and int(length) <= len(rest)):
        raise MalformedError("it does not begin with a length")
    return rest[: int(length)], rest[int(length) :]
