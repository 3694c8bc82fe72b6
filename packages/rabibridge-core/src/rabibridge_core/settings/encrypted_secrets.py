"""Encrypts a secret under a passphrase, and reads it again; also reads what RabiBridge 0.1 had encrypted.

An encrypted secret is one word, which can stand wherever the secret itself can: in a variable, in the configuration
file, in a file of its own, or in a URL. The key is derived from the passphrase with scrypt and a random salt;
AES-256-GCM with a random nonce encrypts and authenticates. The version in front fixes all parameters, so that nothing
in the text decides how much memory or time reading it takes.

RabiBridge 0.1 used AES-CBC with a key and an initialization vector that were hashes of a text in the same file. It
protects nothing from whoever can read the file, and changes go unnoticed. It is read, and never written.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from typing import TYPE_CHECKING

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings.endpoints import Secret

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["MIN_PASSPHRASE", "decrypt", "decrypt_old", "encrypt", "is_encrypted"]

MIN_PASSPHRASE = 12
"""Fewest characters of a passphrase that something is encrypted under."""

_FAMILY = "rabibridge-secret:"
_PREFIX = f"{_FAMILY}v1:"
_SALT_SIZE, _NONCE_SIZE, _TAG_SIZE, _KEY_SIZE = 16, 12, 16, 32
# One of the settings that OWASP recommends: 32 MiB and a fraction of a second, which small containers have, too.
_N, _R, _P, _MEMORY = 2**15, 8, 3, 64 * 1024 * 1024
_BLOCK_SIZE = 16
_KEPT = 64

_decrypted: dict[bytes, Secret] = {}


def is_encrypted(text: str) -> bool:
    """Tell whether a text is an encrypted secret, of this version or of a later one."""
    return text.strip().startswith(_FAMILY)


def encrypt(secret: str, passphrase: str) -> str:
    """Return a secret encrypted; every time differently.

    Raises:
        ConfigurationError: the passphrase is shorter than :data:`MIN_PASSPHRASE`, or ``cryptography`` is not installed.
    """
    if len(passphrase) < MIN_PASSPHRASE:
        raise ConfigurationError(f"the passphrase has fewer than {MIN_PASSPHRASE} characters; take a longer one")
    salt, nonce = os.urandom(_SALT_SIZE), os.urandom(_NONCE_SIZE)
    aead = _aead("encrypting a secret").AESGCM(_derived_key(passphrase, salt))
    sealed = salt + nonce + aead.encrypt(nonce, secret.encode(), _PREFIX.encode())
    return _PREFIX + base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def decrypt(text: str, passphrase: str) -> str:
    """Return the secret that a text was made of. The result is kept, because deriving the key takes long.

    Raises:
        ConfigurationError: it is of a later version or damaged, the passphrase is another one, or ``cryptography`` is
            not installed. The message is to follow a noun phrase that names the text.
    """
    text = text.strip()
    mark = hashlib.blake2b(_bytes(f"{len(text)}:{text}{passphrase}"), digest_size=32).digest()
    if mark not in _decrypted:
        if len(_decrypted) >= _KEPT:
            _decrypted.clear()
        _decrypted[mark] = Secret(_decrypt(text, passphrase))
    return _decrypted[mark].reveal()


def _decrypt(text: str, passphrase: str) -> str:
    if not text.startswith(_PREFIX):
        raise ConfigurationError(f"is encrypted in a form that this version does not know; it knows {_PREFIX}...")
    encoded = text.removeprefix(_PREFIX)
    try:
        sealed = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        sealed = b""
    aead = _aead("is encrypted, and reading it")
    plain: bytes | None = None
    if len(sealed) >= _SALT_SIZE + _NONCE_SIZE + _TAG_SIZE:
        from cryptography.exceptions import InvalidTag

        salt, nonce = sealed[:_SALT_SIZE], sealed[_SALT_SIZE : _SALT_SIZE + _NONCE_SIZE]
        try:
            key = _derived_key(passphrase, salt)
            plain = aead.AESGCM(key).decrypt(nonce, sealed[_SALT_SIZE + _NONCE_SIZE :], _PREFIX.encode())
        except InvalidTag:
            plain = None
    if plain is None:
        raise ConfigurationError(
            "cannot be decrypted: the passphrase is not the one that it was encrypted with, or the text was changed"
        )
    return plain.decode()


def decrypt_old(text: str, secret: str) -> str | None:
    """Return the password that RabiBridge 0.1 read from a ciphertext, or ``None`` if it is none for this secret.

    0.1 expected the base64 form of the password inside, which its own ``encrypt_pwd`` did not make; where there is
    something else, it is the password itself.

    Raises:
        ConfigurationError: ``cryptography`` is not installed.
    """
    _aead("Reading it")
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    try:
        sealed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if not sealed or len(sealed) % _BLOCK_SIZE:
        return None
    digest = hashlib.sha512(base64.b64encode(secret.encode())).digest()
    key, start = digest[:_KEY_SIZE], digest[_KEY_SIZE : _KEY_SIZE + _BLOCK_SIZE]
    decryptor = Cipher(algorithms.AES(key), modes.CBC(start)).decryptor()
    padded = decryptor.update(sealed) + decryptor.finalize()
    count = padded[-1]
    if not 1 <= count <= _BLOCK_SIZE or padded[-count:] != bytes([count]) * count:
        return None
    content = padded[:-count]
    try:
        return base64.b64decode(content, validate=True).decode()
    except ValueError:
        pass
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _derived_key(passphrase: str, salt: bytes) -> bytes:
    return hashlib.scrypt(_bytes(passphrase), salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY, dklen=_KEY_SIZE)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # the environment may hold bytes that are not UTF-8


def _aead(purpose: str) -> ModuleType:
    try:
        from cryptography.hazmat.primitives.ciphers import aead
    except ImportError:
        pass
    else:
        return aead
    raise ConfigurationError(f"{purpose} needs the package cryptography: pip install 'rabibridge-core[crypto]'")
