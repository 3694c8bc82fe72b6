"""The keys of a key ring. Each knows its own algorithm: a message names a key, and never how to use it."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from rabibridge_core._security.fields import MARKS
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ALGORITHMS", "Ed25519Key", "EncryptionKey", "HmacKey", "Key", "SigningKey", "make_key"]

_MIN_SHARED: Final = 16
_EXACT: Final = 32
_SALT: Final = 16
_NONCE: Final = 12
_VERSION: Final = b"\x01"
_HEAD: Final = len(_VERSION) + _SALT + _NONCE
_PURPOSE: Final = b"rabibridge encryption 1"
_BLOCK: Final = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


class Aead(Protocol):
    """An authenticated cipher with one key."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


class _Hmac:
    """HMAC-SHA256 under one key, which was hashed once: a message takes less than half the time of ``hmac.digest``."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        block = (secret if len(secret) <= _BLOCK else hashlib.sha256(secret).digest()).ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER))
        self._outer = hashlib.sha256(block.translate(_OUTER))

    def digest(self, first: bytes, second: bytes = b"") -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(first)
        inner.update(second)
        outer.update(inner.digest())
        return outer.digest()


class HmacKey:
    """HMAC-SHA256 with a key that all sides share."""

    __slots__ = ("_hmac",)
    algorithm: Final = "hmac-sha256"
    signs: Final = True

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _MIN_SHARED:
            raise ConfigurationError(f"it has {len(secret)} bytes; {_MIN_SHARED} are needed, best 32 random ones")
        self._hmac = _Hmac(secret)

    def sign(self, bound: bytes, body: bytes) -> bytes:
        """Return the signature of a message: of all that is bound to its body, and of that as a further field."""
        return self._hmac.digest(bound + MARKS[len(body)], body)

    def verify(self, signature: bytes, bound: bytes, body: bytes) -> bool:
        """Tell whether it is the signature of this message."""
        return hmac.compare_digest(signature, self._hmac.digest(bound + MARKS[len(body)], body))


class Ed25519Key:
    """Ed25519: who has the public key alone can verify, and not sign."""

    __slots__ = ("_invalid", "_private", "_public", "algorithm", "signs")

    def __init__(self, raw: bytes, *, public: bool) -> None:
        if len(raw) != _EXACT:
            raise ConfigurationError(f"it has {len(raw)} bytes; a key of Ed25519 has {_EXACT}")
        try:
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
        except ImportError as error:
            raise _no_cryptography("Ed25519") from error
        self._invalid: type[Exception] = InvalidSignature
        self.signs = not public
        self.algorithm = "ed25519-public" if public else "ed25519"
        self._private = None if public else Ed25519PrivateKey.from_private_bytes(raw)
        self._public = Ed25519PublicKey.from_public_bytes(raw) if self._private is None else self._private.public_key()

    def sign(self, bound: bytes, body: bytes) -> bytes:
        """Return the signature of a message: of all that is bound to its body, and of that as a further field."""
        assert self._private is not None
        return self._private.sign(b"".join((bound, MARKS[len(body)], body)))

    def verify(self, signature: bytes, bound: bytes, body: bytes) -> bool:
        """Tell whether it is the signature of this message."""
        try:
            self._public.verify(signature, b"".join((bound, MARKS[len(body)], body)))
        except self._invalid:
            return False
        return True


class EncryptionKey:
    """An authenticated cipher, with a key and a nonce of its own for each message.

    The key of a message is HMAC-SHA256 of 16 random bytes with a key that HKDF derives from the one in the ring; the
    nonce has 12 further random bytes. So two messages have the same key and nonce with a probability of 2**-224, for
    any two: neither a counter that a restart or a fork would repeat, nor a limit on the messages under one key.
    """

    __slots__ = ("_cipher", "_derived", "_invalid", "algorithm")
    signs: Final = False

    def __init__(self, algorithm: str, secret: bytes) -> None:
        if len(secret) != _EXACT:
            raise ConfigurationError(f"it has {len(secret)} bytes; a key of {algorithm} has {_EXACT}")
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        except ImportError as error:
            raise _no_cryptography("encryption") from error
        self._invalid: type[Exception] = InvalidTag
        self.algorithm = algorithm
        self._cipher: Callable[[bytes], Aead] = AESGCM if algorithm == "aes-256-gcm" else ChaCha20Poly1305
        info = _PURPOSE + b" " + algorithm.encode()
        self._derived = _Hmac(HKDF(algorithm=SHA256(), length=_EXACT, salt=None, info=info).derive(secret))

    def encrypt(self, plain: bytes, bound: bytes) -> bytes:
        """Return the ciphertext; ``bound`` is authenticated with it, and not in it."""
        head = _VERSION + os.urandom(_SALT + _NONCE)
        return head + self._of(head).encrypt(head[-_NONCE:], plain, bound)

    def decrypt(self, body: bytes, bound: bytes) -> bytes | None:
        """Return what was encrypted; ``None``: it was not with this key, or not for this message."""
        head = bytes(body[:_HEAD])
        if len(head) < _HEAD or not head.startswith(_VERSION):
            return None
        try:
            return self._of(head).decrypt(head[-_NONCE:], body[_HEAD:], bound)
        except self._invalid:
            return None

    def _of(self, head: bytes) -> Aead:
        return self._cipher(self._derived.digest(head[len(_VERSION) : len(_VERSION) + _SALT]))


SigningKey: TypeAlias = HmacKey | Ed25519Key
Key: TypeAlias = HmacKey | Ed25519Key | EncryptionKey


def _no_cryptography(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{what} needs the package cryptography: install rabibridge-rabbitmq[crypto] or rabibridge-core[crypto]"
    )


_MAKERS: Final[dict[str, Callable[[bytes], Key]]] = {
    "hmac-sha256": HmacKey,
    "ed25519": lambda raw: Ed25519Key(raw, public=False),
    "ed25519-public": lambda raw: Ed25519Key(raw, public=True),
    "aes-256-gcm": lambda raw: EncryptionKey("aes-256-gcm", raw),
    "chacha20-poly1305": lambda raw: EncryptionKey("chacha20-poly1305", raw),
}
ALGORITHMS: Final = tuple(_MAKERS)
"""The names of the algorithms, as a key ring has them."""


def make_key(algorithm: str, raw: bytes) -> Key:
    """Return the key of an algorithm.

    Raises:
        ConfigurationError: there is no such algorithm, the key has the wrong size, or a package is missing.
    """
    maker = _MAKERS.get(algorithm)
    if maker is None:
        raise ConfigurationError(f"{algorithm[:40]!r} is no algorithm; use one of {', '.join(ALGORITHMS)}")
    return maker(raw)
