"""Encodes the items of a stream one by one, and joins them into the encoding of a list of them.

Each is encoded when it is yielded, as it is then, and sent together with others later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from rabibridge_core._codec.json_serializer import JsonSerializer
from rabibridge_core._codec.msgpack_serializer import AnyKeysMsgpackSerializer, MsgpackSerializer
from rabibridge_core.errors import ContentRejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rabibridge_core._codec.serializers import Serializer

__all__ = ["ItemEncoder"]


class Finish(Protocol):
    """Makes an encoded value the body of a message: compresses it, signs it and checks its size."""

    def __call__(
        self, serializer: Serializer, body: bytes, context: bytes, *, compressible: bool = True
    ) -> tuple[bytes, str, str | None]:
        """Return body, content type and content encoding; not ``compressible``: do not try to compress it."""
        ...


_HEADER_MAX: Final = 5
"""The header of a list takes at most so many bytes more than that of each item."""
_LONG: Final = 16 * 1024
"""Trying to compress a body of so many bytes takes longer than all the rest."""
_UNTRIED_MAX: Final = 64
_SHORT_ARRAYS: Final = tuple(bytes((0x90 | count,)) for count in range(16))
_ARRAY_16: Final = b"\xdc"
_ARRAY_32: Final = b"\xdd"


class ItemEncoder:
    """Encodes the items of one stream or upload, in one format.

    :meth:`encode` may be called by any thread, :meth:`join` by one at a time: where compressing was in vain, it is not
    tried for a while.
    """

    __slots__ = ("_dumps", "_finish", "_in_vain", "_join", "_max_item", "_serializer", "_small", "_untried")

    def __init__(
        self,
        serializer: Serializer,
        dumps: Callable[[Any], bytes],
        finish: Finish,
        *,
        max_decompressed: int,
        small: int = 0,
    ) -> None:
        """Encode with ``serializer``; made by :meth:`rabibridge_core._codec.codec.Codec.items`.

        Args:
            serializer: the format.
            dumps: encodes one value with it, and raises no other errors than SerializationError.
            finish: makes an encoded value the body of a message.
            max_decompressed: largest list before compression, in bytes.
            small: bodies of up to so many bytes are sent as they are.
        """
        self._serializer = serializer
        # It is known of the built-in formats only how lists are written: a subclass may write anything.
        self._join = _JOINERS.get(type(serializer))
        self._dumps = dumps if self._join is None else serializer.dumps
        self._finish = finish
        self._max_item = max_decompressed - _HEADER_MAX
        self._small = small
        self._in_vain = 0  # so many long bodies in a row could not be compressed
        self._untried = 0  # so many bodies follow that are not compressed

    @property
    def joins(self) -> bool:
        """Whether a body can hold several items; else each item needs one of its own."""
        return self._join is not None

    def encode(self, value: object) -> bytes:
        """Encode one item, which may change afterwards.

        Raises:
            SerializationError: the serializer cannot represent it.
            ContentRejectedError: it is larger than ``max_decompressed``.
        """
        item = self._dumps([value] if self._join is None else value)
        if len(item) > self._max_item:
            raise ContentRejectedError(
                f"an item takes {len(item)} bytes as {self._serializer.name}, more than max_decompressed allows"
            )
        return item

    def join(self, items: Sequence[bytes], context: bytes = b"") -> tuple[bytes, str, str | None]:
        """Return body, content type and content encoding of a message with these items: one, if it does not join.

        Args:
            items: what :meth:`encode` has returned.
            context: signed with the body, as in :meth:`rabibridge_core._codec.codec.Codec.encode`.

        Raises:
            ContentRejectedError: the body is larger than ``max_body`` or ``max_decompressed``.
        """
        if self._join is None:
            (body,) = items
        else:
            body = self._join(items)
            if len(body) <= self._small:
                return body, self._serializer.content_type, None
        if len(body) < _LONG:
            return self._finish(self._serializer, body, context)
        if self._untried:
            self._untried -= 1
            return self._finish(self._serializer, body, context, compressible=False)
        finished = self._finish(self._serializer, body, context)
        if len(finished[0]) >= len(body):
            self._in_vain += 1
            self._untried = min(2**self._in_vain, _UNTRIED_MAX)
        else:
            self._in_vain = 0
        return finished


def _join_msgpack(items: Sequence[bytes]) -> bytes:
    count = len(items)
    if count < 16:
        header = _SHORT_ARRAYS[count]
    elif count < 2**16:
        header = _ARRAY_16 + count.to_bytes(2, "big")
    else:
        header = _ARRAY_32 + count.to_bytes(4, "big")
    return b"".join((header, *items))


def _join_json(items: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


_JOINERS: Final[dict[type, Callable[[Sequence[bytes]], bytes]]] = {
    MsgpackSerializer: _join_msgpack,
    AnyKeysMsgpackSerializer: _join_msgpack,
    JsonSerializer: _join_json,
}
