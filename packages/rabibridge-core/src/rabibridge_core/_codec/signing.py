"""Signatures of bodies, for serializers that run code when they decode.

A signature proves that somebody who holds the key made the body, and made it for this call. It does not encrypt the
body, does not tell one holder of the key from another, and does not keep the broker from delivering a message twice.

A signed body consists of one byte (1, the version of this layout), 32 bytes of HMAC-SHA256, and the payload. Its
content type says so: ``application/x-python-pickle; signed=hmac-sha256``.
"""

from __future__ import annotations

import hashlib
import hmac

from rabibridge_core.errors import ConfigurationError, ContentRejectedError

__all__ = ["MIN_KEY_SIZE", "PREFIX_SIZE", "SIGNATURE_SIZE", "SIGNED_PARAMETER", "Signer", "is_signed", "split_signed"]

SIGNATURE_SIZE = 32
"""Size of an HMAC-SHA256, in bytes."""

MIN_KEY_SIZE = 16
"""Smallest size of a key, in bytes; 32 random bytes are best."""

SIGNED_PARAMETER = "signed=hmac-sha256"
"""The parameter of the content type that announces a signed body."""

_LAYOUT = b"\x01"

PREFIX_SIZE = len(_LAYOUT) + SIGNATURE_SIZE
"""Size of what precedes the payload in a signed body, in bytes."""


class Signer:
    """Signs and verifies with HMAC-SHA256 and a key that all sides share. The key appears in no repr."""

    __slots__ = ("_mac",)

    def __init__(self, key: bytes) -> None:
        """Take the key, best 32 random bytes.

        Raises:
            ConfigurationError: the key is not bytes, or too short.
        """
        # Settings come from files and environments: a str must fail here, and not as a TypeError of hmac.
        given: object = key
        if not isinstance(given, bytes) or len(given) < MIN_KEY_SIZE:
            raise ConfigurationError(
                f"the signing key must have {MIN_KEY_SIZE} bytes or more, the same on every side: "
                "best 32 random ones, as secrets.token_bytes(32) returns"
            )
        self._mac = hmac.new(key, digestmod=hashlib.sha256)

    def sign(self, *parts: bytes | bytearray | memoryview) -> bytes:
        """Return the signature, 32 bytes, of these parts in this order.

        The length of each part is signed with it, so that moving bytes from one part to the next changes the signature.
        """
        mac = self._mac.copy()
        for part in parts:
            mac.update(len(part).to_bytes(8, "big"))
            mac.update(part)
        return mac.digest()

    def verify(self, signature: bytes | bytearray | memoryview, *parts: bytes | bytearray | memoryview) -> bool:
        """Tell whether ``signature`` belongs to these parts, in a time that does not depend on how close it is."""
        return hmac.compare_digest(signature, self.sign(*parts))

    def seal(self, payload: bytes, *parts: bytes) -> bytes:
        """Return the signed body of a payload; ``parts`` are signed with it, and the reader must know them."""
        return b"".join((_LAYOUT, self.sign(*parts, payload), payload))


def split_signed(body: memoryview) -> tuple[memoryview, memoryview] | None:
    """Split a signed body into signature and payload; ``None``: it does not have this layout."""
    if len(body) < PREFIX_SIZE or body[:1] != _LAYOUT:
        return None
    return body[len(_LAYOUT) : PREFIX_SIZE], body[PREFIX_SIZE:]


def is_signed(content_type: str | None) -> bool:
    """Tell whether a content type announces a signed body.

    Raises:
        ContentRejectedError: it announces a signature other than ours, which nobody here could verify.
    """
    if content_type is None or ";" not in content_type:
        return False
    parameters = [parameter.strip() for parameter in content_type.lower().split(";")[1:]]
    announced = [parameter for parameter in parameters if parameter.startswith("signed")]
    if announced and announced != [SIGNED_PARAMETER]:
        raise ContentRejectedError(f"the body has an unknown kind of signature; only {SIGNED_PARAMETER} is accepted")
    return bool(announced)
