"""Signatures over bodies, for the serializers that run code when they read.

A signature proves that the body was made by somebody who holds the key, for this very call. It does not hide the body,
does not tell one holder of the key from another, and does not stop the broker from delivering a whole message twice.
"""

from __future__ import annotations

import hashlib
import hmac

from rabibridge_core.errors import ConfigurationError

__all__ = ["MIN_KEY_SIZE", "SIGNATURE_SIZE", "Signer", "is_signed"]

SIGNATURE_SIZE = 32
"""Bytes of an HMAC-SHA256."""

MIN_KEY_SIZE = 16
"""Bytes that a key must have at least; 32 random ones are best."""


class Signer:
    """Signs and checks with HMAC-SHA256 and one key that all sides share. The key shows in no repr."""

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
                f"the signing key must be {MIN_KEY_SIZE} bytes or more, the same on every side: "
                "best 32 random ones, as secrets.token_bytes(32) gives"
            )
        self._mac = hmac.new(key, digestmod=hashlib.sha256)

    def sign(self, *parts: bytes | bytearray | memoryview) -> bytes:
        """Return the signature, 32 bytes, of these parts in this order.

        Each part goes in with its length, so moving bytes from one part to the next changes the signature.
        """
        mac = self._mac.copy()
        for part in parts:
            mac.update(len(part).to_bytes(8, "big"))
            mac.update(part)
        return mac.digest()

    def verify(self, signature: bytes | bytearray | memoryview, *parts: bytes | bytearray | memoryview) -> bool:
        """Tell whether ``signature`` is that of these parts, in a time that does not depend on how close it is."""
        return hmac.compare_digest(signature, self.sign(*parts))


def is_signed(content_type: str | None) -> bool:
    """Tell whether a content type announces a signed body."""
    return content_type is not None and ";" in content_type and "signed" in content_type.lower()
