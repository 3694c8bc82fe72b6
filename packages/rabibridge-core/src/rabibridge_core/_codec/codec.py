"""The codec: from a value to the body on the wire and back, with every limit and check in its place.

Sending: encode, compress, sign, check the size. Receiving: size, content type, signature where that type needs one,
bounded decompression, decoding. Nothing of a body is read before the step it has reached allows it.

A body of a ``trusted_only`` serializer is signed where there is a key. It then says so in its content type, as
``application/x-python-pickle; signed=hmac-sha256``, and consists of one byte (1, the version of this layout), 32 bytes
of HMAC-SHA256 and the payload, compressed or not. The signature covers the content type, the context (which call,
which direction) and the payload as it is sent.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rabibridge_core._codec.compression import MAGIC, compress, decompress, looks_incompressible
from rabibridge_core._codec.serializers import AcceptList, JsonSerializer, MsgpackSerializer, registry
from rabibridge_core._codec.signing import SIGNATURE_SIZE, Signer
from rabibridge_core.errors import ConfigurationError, ContentRejectedError, SerializationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rabibridge_core._codec.serializers import Serializer, SerializerRegistry

__all__ = ["DEFAULT_COMPRESS_THRESHOLD", "DEFAULT_MAX_BODY", "DEFAULT_MAX_DECOMPRESSED", "Codec"]

DEFAULT_COMPRESS_THRESHOLD = 1024
DEFAULT_MAX_BODY = 8 * 1024 * 1024
DEFAULT_MAX_DECOMPRESSED = 64 * 1024 * 1024

_SIGNED = "signed=hmac-sha256"
_LAYOUT = b"\x01"
_PLAIN = (MsgpackSerializer, JsonSerializer)
PREFIX_SIZE = len(_LAYOUT) + SIGNATURE_SIZE
# utf-8 is a charset, not an encoding, but other AMQP libraries put it there beside JSON.
_IDENTITY = frozenset({"identity", "utf-8"})


class Codec:
    """Encodes and decodes the bodies of one client or server. It keeps no state between calls and is thread-safe.

    Attributes:
        serializer: the serializer of what is sent, unless a call names another content type.
        max_body: bytes that a body may have on the wire, in both directions.
        max_decompressed: bytes that a compressed body may expand to, in both directions.
    """

    __slots__ = (
        "_accept",
        "_quick",
        "_signer",
        "_small",
        "_threshold",
        "_trust_broker",
        "max_body",
        "max_decompressed",
        "serializer",
    )

    def __init__(
        self,
        *,
        serializer: str | Serializer = "msgpack",
        accept: Iterable[str | Serializer] | None = None,
        compress_threshold: int | None = DEFAULT_COMPRESS_THRESHOLD,
        max_body: int = DEFAULT_MAX_BODY,
        max_decompressed: int = DEFAULT_MAX_DECOMPRESSED,
        signing_key: bytes | None = None,
        trust_broker: bool = False,
        known: SerializerRegistry = registry,
    ) -> None:
        """Settle formats and limits.

        Args:
            serializer: name or object; also reads what arrives without a content type.
            accept: further serializers that are read. ``None`` means msgpack and json.
            compress_threshold: bodies of more bytes than this are compressed where that makes them smaller; ``None``
                means never.
            max_body: largest body on the wire, in bytes.
            max_decompressed: largest body before compression, in bytes.
            signing_key: 16 bytes or more, best 32 random ones, shared by all sides. Bodies of pickle and cloudpickle
                are signed with it and, unless ``trust_broker`` is set too, read only when signed. Other formats are
                not signed.
            trust_broker: whoever can publish to this broker may run code here: unsigned bodies of pickle and
                cloudpickle are read. Together with a key it serves to introduce the key worker by worker; a signature
                that is there must then be right.
            known: where names are looked up.

        Raises:
            ConfigurationError: an unknown serializer, a limit that is no positive number, a weak key, or a serializer
                that runs code with neither a key nor trust in the broker.
        """
        self._accept = AcceptList(serializer, accept, known=known)
        self.serializer = self._accept.default
        self.max_body = _positive("max_body", max_body)
        self.max_decompressed = _positive("max_decompressed", max_decompressed)
        if compress_threshold is None:
            compress_threshold = sys.maxsize
        elif compress_threshold < 0:
            raise ConfigurationError(f"compress_threshold must be 0 or more bytes, or None, not {compress_threshold}")
        self._threshold = compress_threshold
        self._signer = None if signing_key is None else Signer(signing_key)
        self._trust_broker = trust_broker
        self._small = min(compress_threshold, max_body, max_decompressed)
        # What needs no more than a look-up: the exact content types of formats that run no code and whose bodies never
        # look like a zstd frame.
        self._quick: dict[str | None, Serializer] = {
            accepted.content_type: accepted for accepted in self._accept if type(accepted) in _PLAIN
        }
        if type(self.serializer) in _PLAIN:
            self._quick[None] = self.serializer
        for accepted in self._accept:
            if accepted.trusted_only and self._signer is None and not trust_broker:
                raise ConfigurationError(
                    f"the serializer {accepted.name!r} runs code from the messages it reads: give a signing_key "
                    "(RABIBRIDGE_SIGNING_KEY), the same on every side, or state with trust_broker=True "
                    "(RABIBRIDGE_TRUST_BROKER=1) that only trusted programs can publish"
                )

    def __repr__(self) -> str:
        """Show the formats and limits; the key is not among them."""
        accepted = ", ".join(serializer.name for serializer in self._accept)
        signed = "signed" if self._signer else "unsigned"
        return f"<Codec {self.serializer.name}, reads {accepted}, max_body={self.max_body}, {signed}>"

    def accepts(self, content_type: str | None) -> bool:
        """Tell whether a body with this content type (``None``: without one) would be read."""
        return content_type in self._accept

    def encode(
        self, value: object, context: bytes = b"", content_type: str | None = None
    ) -> tuple[bytes, str, str | None]:
        """Encode one value for the wire.

        Args:
            value: what to send.
            context: bound into the signature; the reader must pass the same. The engines put the direction and the
                correlation id there, so that a body cannot be moved to another call.
            content_type: the format that the other side used; it is answered in kind where it is accepted here, in
                the own format otherwise.

        Returns:
            Body, content type and content encoding: ``"zstd"``, or ``None`` for a body that is not compressed as a
            whole.

        Raises:
            SerializationError: the serializer cannot represent the value.
            ContentRejectedError: the result is larger than ``max_body`` or ``max_decompressed``.
        """
        serializer = self._quick.get(content_type)
        if serializer is None:
            return self._finish(*self._dumps(value, content_type), context)
        body = serializer.dumps(value)
        if len(body) <= self._small:
            return body, serializer.content_type, None
        return self._finish(serializer, body, context)

    def decode(
        self,
        body: bytes | bytearray | memoryview,
        content_type: str | None = None,
        content_encoding: str | None = None,
        context: bytes = b"",
    ) -> Any:
        """Decode one received body.

        Without a content encoding, compression is recognised by its magic number, as RabiBridge 0.1.2 sends it.

        Raises:
            ContentRejectedError: content type or encoding not accepted, too large, signature missing or wrong. Nothing
                has been decoded.
            SerializationError: the body is not what its content type says.
        """
        if len(body) > self.max_body:
            raise ContentRejectedError(f"the received body has {len(body)} bytes, more than max_body={self.max_body}")
        serializer = self._quick.get(content_type)
        if serializer is None:
            serializer, body = self._open(body, content_type, content_encoding, context)
        elif content_encoding is not None or body[:1] == b"\x28":  # the first byte of MAGIC: the cheapest question
            body = self._expand(body, content_encoding)
        try:
            return serializer.loads(body)
        except (SerializationError, ContentRejectedError):
            raise
        except Exception as error:
            raise SerializationError(
                f"the received bytes cannot be decoded as {serializer.name}: {type(error).__name__}"
            ) from error

    def _dumps(self, value: object, content_type: str | None) -> tuple[Serializer, bytes]:
        serializer = self.serializer if content_type is None else self._accept.get(content_type) or self.serializer
        try:
            return serializer, serializer.dumps(value)
        except SerializationError:
            raise
        except Exception as error:
            raise SerializationError(
                f"{serializer.name} cannot encode a value of type {type(value).__qualname__}: {type(error).__name__}"
            ) from error

    def _finish(self, serializer: Serializer, body: bytes, context: bytes) -> tuple[bytes, str, str | None]:
        if len(body) > self.max_decompressed:
            raise ContentRejectedError(
                f"the value takes {len(body)} bytes as {serializer.name}, more than "
                f"max_decompressed={self.max_decompressed}"
            )
        content_type, encoding = serializer.content_type, None
        # A body that happens to begin with zstd's magic number is compressed at any size: a reader would take it for
        # a frame. None of the built-in serializers writes one.
        disguised = body[:4] == MAGIC
        if disguised or (len(body) > self._threshold and (len(body) > self.max_body or not looks_incompressible(body))):
            compressed = compress(body)
            if disguised or len(compressed) < len(body):
                body, encoding = compressed, "zstd"
        if serializer.trusted_only and self._signer is not None:
            body = b"".join((_LAYOUT, self._signer.sign(content_type.encode(), context, body), body))
            content_type, encoding = f"{content_type}; {_SIGNED}", None
        if len(body) > self.max_body:
            raise ContentRejectedError(
                f"the value takes {len(body)} bytes on the wire, more than max_body={self.max_body}"
            )
        return body, content_type, encoding

    def _open(
        self,
        body: bytes | bytearray | memoryview,
        content_type: str | None,
        content_encoding: str | None,
        context: bytes,
    ) -> tuple[Serializer, bytes | bytearray | memoryview]:
        serializer = self._accept.find(content_type)
        if not serializer.trusted_only:
            return serializer, self._expand(body, content_encoding)
        if not _is_signed(content_type):
            if not self._trust_broker:
                raise ContentRejectedError(
                    f"an unsigned {serializer.name} body is not read: the sender needs the signing_key"
                )
            return serializer, self._expand(body, content_encoding)
        if content_encoding and content_encoding not in _IDENTITY:
            raise ContentRejectedError("a signed body carries its compression inside, not as content encoding")
        payload = self._check_signature(serializer, memoryview(body), context)
        return serializer, self._expand(payload, None)

    def _check_signature(self, serializer: Serializer, body: memoryview, context: bytes) -> memoryview:
        if len(body) < PREFIX_SIZE or body[:1] != _LAYOUT:
            raise ContentRejectedError(f"a {serializer.name} body that should be signed has no signature")
        payload = body[PREFIX_SIZE:]
        # Without a key, the broker was declared trusted, and a signature adds nothing that could be checked.
        if self._signer is not None and not self._signer.verify(
            body[len(_LAYOUT) : PREFIX_SIZE], serializer.content_type.encode(), context, payload
        ):
            raise ContentRejectedError(
                f"the signature of a {serializer.name} body is wrong: another signing_key, or not made for this call"
            )
        return payload

    def _expand(
        self, body: bytes | bytearray | memoryview, content_encoding: str | None
    ) -> bytes | bytearray | memoryview:
        encoding = content_encoding.strip().lower() if content_encoding else ""
        if encoding in _IDENTITY:
            return body
        if encoding == "zstd" or (not encoding and body[:4] == MAGIC):
            return decompress(body, self.max_decompressed)
        if encoding:
            raise ContentRejectedError(f"content encoding {encoding[:100]!r} is not accepted: only zstd is")
        return body


def _is_signed(content_type: str | None) -> bool:
    """Tell whether the content type announces a signature; any but ours is refused."""
    parameters = (content_type or "").lower().split(";")[1:]
    announced = [stripped for parameter in parameters if (stripped := parameter.strip()).startswith("signed")]
    if announced and announced != [_SIGNED]:
        raise ContentRejectedError(f"the body is signed in an unknown way: only {_SIGNED} is read")
    return bool(announced)


def _positive(name: str, size: int) -> int:
    if size <= 0:
        raise ConfigurationError(f"{name} must be a positive number of bytes, not {size}")
    return size
