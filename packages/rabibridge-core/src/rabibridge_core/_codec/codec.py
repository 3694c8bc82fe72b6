"""The codec: converts a value to the body on the wire and back, and enforces every limit and check.

Sending: encode, compress, sign, check the size. Receiving: check size, content type and (for serializers that run code)
the signature; then decompress up to the limit; then decode. No step reads a body that an earlier one has not accepted.

Bodies of ``trusted_only`` serializers are signed if there is a key. The signature covers the content type, the context
(which call, which direction) and the payload as it is sent, compressed or not.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from rabibridge_core._codec.codec_settings import positive
from rabibridge_core._codec.compression import MAGIC, compress, looks_incompressible
from rabibridge_core._codec.decoding_cost import UNMEASURED
from rabibridge_core._codec.failures import checked_bytes, unencodable
from rabibridge_core._codec.joining import ItemEncoder
from rabibridge_core._codec.large_memory import keep_blocks_of
from rabibridge_core._codec.receiving import BodyReader
from rabibridge_core._codec.serializers import AcceptList, JsonSerializer, MsgpackSerializer, registry
from rabibridge_core._codec.signing import SIGNED_PARAMETER, Signer, is_signed
from rabibridge_core.errors import ConfigurationError, ContentRejectedError, SerializationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rabibridge_core._codec.codec_settings import CodecSettings
    from rabibridge_core._codec.serializers import Serializer, SerializerRegistry

__all__ = [
    "DEFAULT_COMPRESS_THRESHOLD",
    "DEFAULT_MAX_BODY",
    "DEFAULT_MAX_DECODED",
    "DEFAULT_MAX_DECOMPRESSED",
    "Codec",
]

DEFAULT_COMPRESS_THRESHOLD = 1024
DEFAULT_MAX_BODY = 8 * 1024 * 1024
DEFAULT_MAX_DECOMPRESSED = 64 * 1024 * 1024
DEFAULT_MAX_DECODED = 256 * 1024 * 1024

_PLAIN = (MsgpackSerializer, JsonSerializer)


class Codec:
    """Encodes and decodes the bodies of one client or server. It keeps no state between calls and is thread-safe.

    Attributes:
        serializer: the serializer for sending, unless a call has another content type.
        max_body: largest body on the wire, in bytes, in both directions.
        max_decompressed: largest body before compression, in bytes, in both directions.
    """

    __slots__ = (
        "_accept", "_given", "_quick", "_reader", "_signer", "_small", "_threshold", "_unmeasured", "max_body",
        "max_decompressed", "serializer",
    )  # fmt: skip

    def __init__(
        self,
        *,
        serializer: str | Serializer = "msgpack",
        accept: Iterable[str | Serializer] | None = None,
        compress_threshold: int | None = DEFAULT_COMPRESS_THRESHOLD,
        max_body: int = DEFAULT_MAX_BODY,
        max_decompressed: int = DEFAULT_MAX_DECOMPRESSED,
        max_decoded: int = DEFAULT_MAX_DECODED,
        any_map_keys: bool = False,
        signing_key: bytes | None = None,
        trust_broker: bool = False,
        known: SerializerRegistry = registry,
    ) -> None:
        """Choose formats and limits.

        Args:
            serializer: name or object; also decodes bodies without a content type.
            accept: further serializers to accept. ``None`` means msgpack and json.
            compress_threshold: bodies of more bytes than this are compressed if that makes them smaller; ``None``
                means never.
            max_body: largest body on the wire, in bytes.
            max_decompressed: largest body before compression, in bytes.
            max_decoded: the memory that decoding one body of msgpack or json may take, in bytes, by an estimate that is
                rather too high.
            any_map_keys: msgpack accepts map keys other than str and bytes, in both directions.
            signing_key: 16 bytes or more, best 32 random ones, shared by all sides. Bodies of pickle and cloudpickle
                are signed with it and, unless ``trust_broker`` is set too, accepted only with a signature. Other
                formats are not signed.
            trust_broker: everybody who can publish to this broker may run code here: bodies of pickle and cloudpickle
                are accepted without a signature. Together with a key it serves to introduce the key worker by worker;
                a signature that is present must then be valid.
            known: the registry for names of serializers.

        Raises:
            ConfigurationError: an unknown serializer, a limit that is not positive, a key that is too short, or a
                serializer that runs code with neither a key nor trust in the broker.
        """
        self._given: dict[str, Any] = {name: value for name, value in locals().items() if name not in ("self", "known")}
        self._accept = AcceptList(serializer, accept, known=known, any_map_keys=any_map_keys)
        self.serializer = self._accept.default
        self.max_body = positive("max_body", max_body)
        self.max_decompressed = positive("max_decompressed", max_decompressed)
        if compress_threshold is None:
            compress_threshold = sys.maxsize
        elif compress_threshold < 0:
            raise ConfigurationError(f"compress_threshold must be 0 or more bytes, or None, not {compress_threshold}")
        self._threshold = compress_threshold
        self._signer = None if signing_key is None else Signer(signing_key)
        self._reader = BodyReader(
            self._accept,
            self._signer,
            trust_broker=trust_broker,
            max_body=max_body,
            max_decompressed=max_decompressed,
            max_decoded=positive("max_decoded", max_decoded),
        )
        self._unmeasured = min(max_body, max_decompressed, UNMEASURED)
        self._small = min(compress_threshold, max_body, max_decompressed)
        # Content types that a plain look-up settles: of formats that run no code and never look like a zstd frame.
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

    @classmethod
    def from_settings(
        cls,
        settings: CodecSettings,
        *,
        serializer: str | Serializer | None = None,
        accept: Iterable[str | Serializer] | None = None,
        trust_broker: bool | None = None,
    ) -> Self:
        """Make the codec that the settings describe.

        Args:
            settings: formats, limits, key and trust.
            serializer: name or object to use instead of the configured serializer.
            accept: further serializers to accept. ``None`` means msgpack and json.
            trust_broker: replaces the setting, unless ``None``.

        Raises:
            ConfigurationError: as of the constructor.
        """
        return cls(
            serializer=settings.serializer if serializer is None else serializer,
            accept=accept,
            compress_threshold=settings.compress_threshold,
            max_body=settings.max_body,
            max_decompressed=settings.max_decompressed,
            max_decoded=settings.max_decoded,
            any_map_keys=settings.any_map_keys,
            signing_key=settings.signing_key.reveal().encode() if settings.signing_key else None,
            trust_broker=settings.trust_broker if trust_broker is None else trust_broker,
        )

    def __repr__(self) -> str:
        """Show the formats and limits, without the key."""
        accepted = ", ".join(serializer.name for serializer in self._accept)
        signed = "signed" if self._signer else "unsigned"
        return f"<Codec {self.serializer.name}, reads {accepted}, max_body={self.max_body}, {signed}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what makes it again, with the key, for the child processes of this one."""
        return partial(type(self), **{**self._given, **self._accept.portable()}), ()

    def accepts(self, content_type: str | None) -> bool:
        """Tell whether bodies with this content type (``None``: without one) are accepted."""
        return content_type in self._accept

    def runs_code(self, content_type: str | None) -> bool:
        """Tell whether decoding a body with this content type runs code that nobody vouches for.

        With a ``signing_key``, a body that says that it is signed with it is checked when it is decoded.
        """
        serializer = self._accept.get(content_type)
        unsafe = serializer is not None and serializer.trusted_only
        return unsafe and (self._signer is None or not is_signed(content_type))

    def encode(
        self, value: object, context: bytes = b"", content_type: str | None = None
    ) -> tuple[bytes, str, str | None]:
        """Encode one value for the wire.

        Args:
            value: what to send.
            context: signed with the body; the reader must pass the same. The engines put the direction and the
                correlation id there, so that a body cannot be moved to another call.
            content_type: the format that the other side used. It is used for the answer if it is accepted here;
                otherwise, the codec's own format is.

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
        on_loop: bool = False,
    ) -> Any:
        """Decode one received body.

        Without a content encoding, compression is detected by its magic number, as RabiBridge 0.1.2 sends it.

        Args:
            body: the body as received.
            content_type: its content type.
            content_encoding: its content encoding.
            context: what :meth:`encode` was given.
            on_loop: whether the caller is an event loop, which must not be blocked by a body that takes long.

        Raises:
            LargeBodyError: ``on_loop`` is set, and the body may take long. Nothing has been decoded.
            ContentRejectedError: content type or encoding not accepted, too large, too much memory needed, signature
                missing or wrong. Nothing has been decoded.
            SerializationError: the body is not what its content type says.
        """
        if len(body) > self._unmeasured:
            return self._reader.read(body, content_type, content_encoding, context, on_loop=on_loop)
        serializer = self._quick.get(content_type)
        if serializer is None or content_encoding is not None or body[:1] == b"\x28":  # the first byte of MAGIC
            return self._reader.read(body, content_type, content_encoding, context, on_loop=on_loop)
        return serializer.loads(body)

    def items(self, content_type: str | None = None) -> ItemEncoder:
        """Return what encodes the items of a stream or an upload, in the format that :meth:`encode` would use."""
        quick, most = self._quick.get(content_type), self.max_decompressed
        if quick is not None:
            return ItemEncoder(quick, quick.dumps, self._finish, max_decompressed=most, small=self._small)
        serializer = self.serializer if content_type is None else self._accept.get(content_type) or self.serializer
        return ItemEncoder(
            serializer, lambda value: self._dumps(value, content_type)[1], self._finish, max_decompressed=most
        )

    def refusal(self, value: object, content_type: str | None = None) -> str | None:
        """Return why a value cannot be encoded in the format of a content type; ``None`` if it can."""
        try:
            self._dumps(value, content_type)
        except SerializationError as error:
            return str(error)  # not the error: kept by a frame below its own, it would be a cycle
        return None

    def _dumps(self, value: object, content_type: str | None) -> tuple[Serializer, bytes]:
        serializer = self.serializer if content_type is None else self._accept.get(content_type) or self.serializer
        try:
            return serializer, checked_bytes(serializer.name, serializer.dumps(value))
        except (SerializationError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise unencodable(serializer.name, value, error) from error

    def _finish(
        self, serializer: Serializer, body: bytes, context: bytes, *, compressible: bool = True
    ) -> tuple[bytes, str, str | None]:
        if len(body) > self.max_decompressed:
            most = f"max_decompressed={self.max_decompressed}"
            why = f"the value takes {len(body)} bytes as {serializer.name}, more than {most}"
            raise ContentRejectedError(why, executed=False)
        keep_blocks_of(len(body))
        content_type, encoding = serializer.content_type, None
        # Such a body is compressed at any size, since a reader would take it for a frame. No built-in one writes it.
        disguised = body[:4] == MAGIC
        tried = len(body) > self.max_body or (compressible and not looks_incompressible(body))
        if disguised or (tried and len(body) > self._threshold):
            compressed = compress(body)
            if disguised or len(compressed) < len(body):
                body, encoding = compressed, "zstd"
        if serializer.trusted_only and self._signer is not None:
            body = self._signer.seal(body, content_type.encode(), context)
            content_type, encoding = f"{content_type}; {SIGNED_PARAMETER}", None
        if len(body) > self.max_body:
            why = f"the value takes {len(body)} bytes on the wire, more than max_body={self.max_body}"
            raise ContentRejectedError(why, executed=False)
        return body, content_type, encoding
