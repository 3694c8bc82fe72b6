"""Reads received bodies step by step: size, content type, signature, compression, memory, values.

No step reads a body that an earlier one has not accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._codec.compression import expand, expanded_size, is_identity
from rabibridge_core._codec.decoding_cost import UNMEASURED, json_cost, msgpack_cost
from rabibridge_core._codec.failures import undecodable
from rabibridge_core._codec.json_serializer import JsonSerializer
from rabibridge_core._codec.large_memory import keep_blocks_of
from rabibridge_core._codec.msgpack_serializer import MsgpackSerializer
from rabibridge_core._codec.signing import is_signed, split_signed
from rabibridge_core.errors import ContentRejectedError, SerializationError

if TYPE_CHECKING:
    from rabibridge_core._codec.serializers import AcceptList, Serializer
    from rabibridge_core._codec.signing import Signer

__all__ = ["BodyReader", "LargeBodyError"]

_EXPANDED_ON_LOOP = 4 * 1024 * 1024
"""Larger bodies take milliseconds to decompress."""
_TOKENS_ON_LOOP = 512
"""Bodies with more objects than this take more time than a text or byte string of the same size."""
_STRUCTURE_ON_LOOP = 1024 * 1024
_LONG = 1024 * 1024
"""Bodies with a longer text are decoded in one step, because a text in steps takes several times its size."""


class LargeBodyError(Exception):
    """A body may take so long to decode that an event loop must not do it."""


class BodyReader:
    """Reads the bodies that are not small and plain."""

    __slots__ = ("_accept", "_max_body", "_max_decoded", "_max_decompressed", "_signer", "_trust_broker")

    def __init__(
        self,
        accept: AcceptList,
        signer: Signer | None,
        *,
        trust_broker: bool,
        max_body: int,
        max_decompressed: int,
        max_decoded: int,
    ) -> None:
        """Read with these limits; :class:`~rabibridge_core._codec.codec.Codec` documents them."""
        self._accept = accept
        self._signer = signer
        self._trust_broker = trust_broker
        self._max_body = max_body
        self._max_decompressed = max_decompressed
        self._max_decoded = max_decoded

    def read(
        self,
        body: bytes | bytearray | memoryview,
        content_type: str | None,
        content_encoding: str | None,
        context: bytes,
        *,
        on_loop: bool,
    ) -> Any:
        """Decode a body; see :meth:`rabibridge_core._codec.codec.Codec.decode`."""
        size = len(body)
        if size > self._max_body:
            raise ContentRejectedError(f"the received body has {size} bytes, more than max_body={self._max_body}")
        keep_blocks_of(size)
        serializer = self._accept.find(content_type)
        if serializer.trusted_only:
            body, content_encoding = self._trusted(serializer, body, content_type, content_encoding, context)
        plain = isinstance(serializer, MsgpackSerializer | JsonSerializer)
        if plain and on_loop and expanded_size(body, content_encoding) > _EXPANDED_ON_LOOP:
            raise LargeBodyError
        body = expand(body, content_encoding, self._max_decompressed)
        if plain and len(body) > UNMEASURED:
            return self._read_measured(serializer, body, size, on_loop=on_loop)
        try:
            return serializer.loads(body)
        except (SerializationError, ContentRejectedError, KeyboardInterrupt):
            raise
        # A SystemExit must not end the client that reads a reply, a CancelledError not pass for the caller's own.
        except BaseException as error:
            raise undecodable(serializer.name, error) from error

    def _read_measured(
        self, serializer: Serializer, body: bytes | bytearray | memoryview, size: int, *, on_loop: bool
    ) -> Any:
        limit = self._max_decoded - size - len(body)
        if isinstance(serializer, JsonSerializer):
            cost = json_cost(body, limit)
            long = cost.structure > _STRUCTURE_ON_LOOP
        else:
            cost = msgpack_cost(body, limit, _TOKENS_ON_LOOP if on_loop else None)
            long = not cost.complete
        if cost.memory > limit:
            raise ContentRejectedError(
                f"decoding the received body, of {size} bytes or {len(body)} decompressed, may take more than "
                f"{self._max_decoded} bytes of memory (max_decoded)"
            )
        if on_loop and long:
            raise LargeBodyError
        if type(serializer) is MsgpackSerializer and not on_loop and cost.longest < _LONG:
            return serializer.loads_in_steps(body)
        return serializer.loads(body)

    def _trusted(
        self,
        serializer: Serializer,
        body: bytes | bytearray | memoryview,
        content_type: str | None,
        content_encoding: str | None,
        context: bytes,
    ) -> tuple[bytes | bytearray | memoryview, str | None]:
        """Return body and content encoding for a serializer that runs code, if its sender is trusted."""
        if is_signed(content_type):
            if content_encoding and not is_identity(content_encoding):
                raise ContentRejectedError("a signed body carries its compression inside, not as content encoding")
            return self._verified(serializer, memoryview(body), context), None
        if not self._trust_broker:
            raise ContentRejectedError(
                f"{serializer.name} bodies without a signature are not accepted: the sender needs the signing_key"
            )
        return body, content_encoding

    def _verified(self, serializer: Serializer, body: memoryview, context: bytes) -> memoryview:
        """Return the payload of a signed body."""
        parts = split_signed(body)
        if parts is None:
            raise ContentRejectedError(f"a {serializer.name} body has no signature, although its content type says so")
        signature, payload = parts
        # Without a key, the broker was declared trusted, and there is nothing to verify a signature with.
        if self._signer is not None and not self._signer.verify(
            signature, serializer.content_type.encode(), context, payload
        ):
            raise ContentRejectedError(
                f"the signature of a {serializer.name} body is wrong: it was made with another signing_key, or for "
                "another call"
            )
        return payload
