"""What streams and uploads add to requests and replies: headers, windows, and bodies of several items.

A request with ``rb-stream`` asks for the items that a function yields, one with ``rb-upload`` feeds one of its
arguments. Its body is ``[args, kwargs, true]``: whoever serves a function that can do neither refuses it without
running anything, and so does a worker of a version without streams.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rabibridge_core.errors import ContentRejectedError, SerializationError

if TYPE_CHECKING:
    from rabibridge_core._codec.codec import Codec
    from rabibridge_core.transport import Headers, Reply

__all__ = [
    "ADDRESS",
    "CANCEL",
    "CREDIT",
    "DEFAULT_WINDOW",
    "END",
    "ERROR",
    "FED_BYTES",
    "GATHERED_BYTES",
    "GATHERED_ITEMS",
    "INDEX",
    "ITEMS",
    "LAST_BYTES",
    "LAST_ITEMS",
    "OPEN",
    "PART",
    "PROGRESS",
    "RESUMABLE",
    "START",
    "STREAM",
    "STREAM_HEADERS",
    "TOTAL",
    "UPLOAD",
    "WINDOW",
    "Window",
    "decode_items",
    "feed_context",
    "part_context",
    "read_address",
    "read_index",
    "read_window",
    "window_for",
]

STREAM: Final = "rb-stream"
"""In a request: the caller wants a stream, and this is its window, a :class:`Window` as text."""
START: Final = "rb-stream-start"
"""In a request: the index of the first item that the caller wants, if it is not 0: it has had those before."""
LAST_ITEMS: Final = "rb-last-items"
"""In a request: ``True`` if the reply that ends the stream may hold its last items, as a part of items does."""
UPLOAD: Final = "rb-upload"
"""In a request: the argument that the caller feeds, its index as decimal text or its name; its place holds nil."""
PART: Final = "rb-part"
"""In a reply that others follow, and in each message to an address: what it is."""
OPEN: Final = "open"
"""A part: the request has begun. Other first parts say that, too."""
ITEMS: Final = "items"
"""A part, in both directions: its body is an array of items."""
CREDIT: Final = "credit"
"""A part, in both directions: how many messages of items were consumed so far."""
PROGRESS: Final = "progress"
"""A part: how far a call has come."""
END: Final = "end"
"""A message to an address: the upload is complete."""
ERROR: Final = "error"
"""A message to an address: the upload has failed; the headers of an error may say how."""
CANCEL: Final = "cancel"
"""A message to an address: the caller has ended the call before this run of it began."""
ADDRESS: Final = "rb-address"
"""In the first part of each run: where its worker can be sent further messages."""
RESUMABLE: Final = "rb-resumable"
"""In the first part of each run: ``True`` if another worker can go on where a stream has broken off."""
WINDOW: Final = "rb-window"
"""In the first part, if an argument is fed: the window of the upload."""
INDEX: Final = "rb-index"
"""With items: the index of the first one. With credit: the number of messages consumed so far. With the end of an
upload: the number of its items."""
TOTAL: Final = "rb-items"
"""In the reply that ends a stream: the number of its items, from index 0 on. With :data:`INDEX`, it holds the last."""

GATHERED_BYTES: Final = 240 * 1024
"""Items are gathered in one message up to this size, in bytes. A larger item has a message of its own. Fewer messages
cost all three sides less; those of up to 256 KiB are decoded without being measured."""
FED_BYTES: Final = 64 * 1024
"""The same for uploads. A caller learns what the broker accepts only when that closes its channel, which ends the
upload and may lose other calls; so it gathers less than a worker does."""
GATHERED_ITEMS: Final = 4096
"""At most so many items are gathered in one message."""

LAST_BYTES: Final = 64 * 1024
"""Items of up to this size, in bytes, are sent with the reply that ends their stream, if its caller allows it."""

_ADDRESS_MAX: Final = 255
_MESSAGES_MAX: Final = 4096
_BYTES_MAX: Final = 64 * 1024 * 1024
_WINDOW = re.compile(r"([1-9][0-9]{0,9}),([1-9][0-9]{0,18})", re.ASCII)
_INDEX_MAX: Final = 2**63 - 1


class Window(NamedTuple):
    """How much may be on its way: a message of items may be sent while less than both is not reported as consumed.

    So one message is always allowed, and the last one may exceed the number of bytes.

    Attributes:
        messages: number of messages with items, 1 to 4096.
        size: bytes of their bodies as they are sent, 1 to 64 MiB.
    """

    messages: int
    size: int

    def __str__(self) -> str:
        """Return what the header holds."""
        return f"{self.messages},{self.size}"


DEFAULT_WINDOW: Final = Window(16, 1024 * 1024)
"""The window of a stream and of an upload, unless the receiver chooses another one."""
_DEFAULT_TEXT: Final = str(DEFAULT_WINDOW)
STREAM_HEADERS: Final[Headers] = MappingProxyType({STREAM: _DEFAULT_TEXT, LAST_ITEMS: True})
"""The headers of a request for a stream, if it needs no others: one object, which transports may recognise."""


def window_for(max_body: int) -> Window:
    """Return the window of a receiver that accepts bodies of up to so many bytes.

    The other side gathers no more in a message than the window allows. A quarter is left for what messages add.
    """
    return DEFAULT_WINDOW if max_body >= 2 * GATHERED_BYTES else Window(DEFAULT_WINDOW.messages, max_body * 3 // 4)


def read_window(value: object) -> Window:
    """Return the window that a header holds; one that is too large is reduced to what is allowed.

    Raises:
        ContentRejectedError: it is not of the form ``MESSAGES,BYTES``.
    """
    return DEFAULT_WINDOW if value == _DEFAULT_TEXT else _parse_window(value)


def _parse_window(value: object) -> Window:
    found = _WINDOW.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ContentRejectedError(
            f"the window of a stream is {repr(value)[:80]}; it must be two whole numbers of 1 or more, MESSAGES,BYTES, "
            f"as in {str(DEFAULT_WINDOW)!r}"
        )
    return Window(min(int(found[1]), _MESSAGES_MAX), min(int(found[2]), _BYTES_MAX))


def read_index(headers: Headers | None, name: str = INDEX) -> int | None:
    """Return the index that a header holds, from 0 to 2**63 - 1; ``None`` if there is none, or it is malformed."""
    value = headers.get(name) if headers else None
    return value if type(value) is int and 0 <= value <= _INDEX_MAX else None


def read_address(headers: Headers | None) -> str:
    """Return the address that the headers of a part hold; empty if there is none, or it is malformed."""
    value = headers.get(ADDRESS) if headers else None
    return value if isinstance(value, str) and len(value) <= _ADDRESS_MAX and value.isascii() else ""


def part_context(correlation_id: bytes, index: int) -> bytes:
    """Return what is signed with the items of a stream from ``index`` on, so that they are valid there alone."""
    return b"part %b %d" % (correlation_id, index)


def feed_context(correlation_id: bytes, index: int) -> bytes:
    """Return what is signed with the items of an upload from ``index`` on."""
    return b"feed %b %d" % (correlation_id, index)


def decode_items(codec: Codec, message: Reply, context: bytes, on_loop: bool = True) -> list[Any]:
    """Return the items in the body of a message.

    Raises:
        LargeBodyError: ``on_loop`` is set, and the body may take so long that a thread must decode it.
        SerializationError: the body is no array of items.
        ContentRejectedError: the body must not be read.
    """
    body, content_type, content_encoding, _ = message
    items = codec.decode(body, content_type, content_encoding, context, on_loop)
    if type(items) is list:
        return items
    raise SerializationError("a message of a stream holds no array of items")
