"""Seals what is sent and opens what arrives: signatures and encryption of one message, without any transport."""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from rabibridge_core._protocol.headers import ERROR_KIND, IDEMPOTENCY_KEY
from rabibridge_core._protocol.remote_errors import REFUSALS
from rabibridge_core._security.fields import (
    MARKS,
    FieldsError,
    bytes_field,
    decode_headers,
    encode_headers,
    split,
    text_field,
    text_of,
)
from rabibridge_core._security.keys import EncryptionKey
from rabibridge_core._security.refusals import Refusals
from rabibridge_core._security.replay import ReplayMemory
from rabibridge_core._security.signature import (
    ENCRYPTED,
    ENCRYPTED_TYPE,
    SIGNATURE,
    Content,
    Direction,
    bound_bytes,
    format_signature,
    format_signer,
    known_start,
    parse_signature,
    signed_headers,
    signed_start,
    words_of,
)
from rabibridge_core.errors import (
    ConfigurationError,
    ContentRejectedError,
    KeyUnknownError,
    ReplayMemoryFullError,
    SignatureError,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from rabibridge_core._security.rules import Rules
    from rabibridge_core._security.signature import Claims

__all__ = ["Guard", "Opened", "ReplayedError"]

_READABLE: Final = (IDEMPOTENCY_KEY,)
"""Headers that stay readable in an encrypted message: the transport looks at them."""
_EVERY: Final = ("",)
_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple


class ReplayedError(Exception):
    """A request has arrived before: it is dropped, because a reply would reach the caller of the first copy."""


class Opened(NamedTuple):
    """What a message held, once its signature was found right.

    Attributes:
        content: what the sender gave, without what signing and encrypting has added.
        encrypted_with: the key that it was encrypted with; empty: none.
        sent: when it was sent, in milliseconds since 1970 by the clock of the sender.
        deadline: the deadline that the sender gave, by the same clock; ``None``: none.
        claims: what its signature says.
    """

    content: Content
    encrypted_with: str
    sent: int
    deadline: int | None
    claims: Claims


class Guard:
    """Signs, encrypts and checks the messages of one connection."""

    __slots__ = ("_numbers", "_signer", "_starts", "memory", "refusals", "rules")

    def __init__(self, rules: Rules, name: str) -> None:
        """Follow ``rules`` for the client or server of this name."""
        self.rules = rules
        self.refusals = Refusals(name)
        self.memory = ReplayMemory(rules.capacity)
        sender = secrets.token_hex(8)
        self._signer = format_signer(rules.signing_id, sender)
        self._starts: dict[Direction, bytes] = {
            direction: signed_start(direction, rules.namespace, rules.signing_id, sender)
            for direction in get_args(Direction)
        }
        self._numbers = itertools.count(1)

    def seal(
        self,
        direction: Direction,
        correlation_id: bytes,
        content: Content,
        *,
        target: str = "",
        reply_address: bytes | None = None,
        persistent: bool = False,
        timeout: float | None = None,
        encrypt_with: str | None = None,
    ) -> Content:
        """Return the content to send.

        Args:
            direction: what kind of message it is.
            correlation_id: the call that it belongs to.
            content: what to send.
            target: where it is sent to.
            reply_address: where the reply goes.
            persistent: whether the broker stores it.
            timeout: the time left to the call, in seconds.
            encrypt_with: the key to encrypt with; ``None``: as the rules say; empty: do not.

        Raises:
            ConfigurationError: the key that signs or encrypts is no longer in the ring, or has expired.
            ContentRejectedError: the body is too large once it is encrypted.
        """
        rules = self.rules
        key = rules.ring.find(rules.signing_id)
        if key is None or isinstance(key, EncryptionKey) or not key.signs:
            raise _no_key(rules.signing_id, "signing_key_id")
        words = words_of(next(self._numbers), rules.wall(), timeout, target)
        body, content_type, content_encoding, given = content
        headers = signed_headers(given)
        plain, cipher_id = headers, rules.encryption_id if encrypt_with is None else encrypt_with
        if cipher_id:
            readable = {name: headers[name] for name in _READABLE if name in headers}
            content_type, content_encoding, headers = ENCRYPTED_TYPE, None, {**readable, ENCRYPTED: cipher_id}
        outer = _new_tuple(Content, (body, content_type, content_encoding, headers))
        bound = bound_bytes(self._starts[direction], words, correlation_id, reply_address, persistent, outer)
        if cipher_id:
            body = self._encrypted(cipher_id, content._replace(headers=plain), bound)
        headers[SIGNATURE] = format_signature(self._signer, words, key.sign(bound, body))
        return _new_tuple(Content, (body, content_type, content_encoding, headers))

    def open(
        self,
        direction: Direction,
        correlation_id: bytes,
        content: Content,
        *,
        targets: Collection[str] | None = _EVERY,
        reply_address: bytes | None = None,
        persistent: bool = False,
    ) -> Opened:
        """Return what a signed message held.

        Args:
            direction: what kind of message it is.
            correlation_id: the call that it belongs to.
            content: what has arrived.
            targets: where such messages may be sent to; ``None``: anywhere.
            reply_address: where the reply goes.
            persistent: whether the broker stores it.

        Raises:
            SignatureError: the signature is wrong, or the message must not be accepted for another reason.
        """
        body, content_type, content_encoding, given = content
        claims = parse_signature(given.get(SIGNATURE) if given else None)
        key_id, sender, words, signature = claims
        key = self.rules.ring.find(key_id)
        if key is None:
            raise _unknown_key(key_id)
        if isinstance(key, EncryptionKey):
            raise SignatureError(f"the key {key_id!r} is for {key.algorithm}, not for signatures", key_id=key_id)
        headers = signed_headers(given)
        content = _new_tuple(Content, (body, content_type, content_encoding, headers))
        start = known_start(direction, self.rules.namespace, key_id, sender)
        try:
            bound = bound_bytes(start, words, correlation_id, reply_address, persistent, content)
        except FieldsError as error:
            raise SignatureError(f"it has a header that nobody signs: {error}", key_id=key_id) from None
        if not key.verify(signature, bound, body):
            raise SignatureError(
                f"the signature with the key {key_id!r} is wrong: the message was changed or moved, or that key is "
                "another one here",
                key_id=key_id,
            )
        if targets is not None and claims.target not in targets:
            raise SignatureError(f"it was signed for {claims.target[:80]!r}, not for this service", key_id=key_id)
        cipher_id = headers.get(ENCRYPTED, "")
        if isinstance(cipher_id, str) and cipher_id:
            content = self._decrypted(cipher_id, body, bound)
        elif self.rules.require_encryption and direction != "cancel" and headers.get(ERROR_KIND) not in REFUSALS:
            raise SignatureError("it is not encrypted, which require_encryption asks for", key_id=key_id)
        elif not headers:
            content = _new_tuple(Content, (body, content_type, content_encoding, None))
        _, sent, until, _ = words
        return _new_tuple(Opened, (content, str(cipher_id), int(sent), None if until == b"-" else int(until), claims))

    def admit(self, opened: Opened, scope: str = "") -> None:
        """Let a request run once.

        Args:
            opened: the request.
            scope: within which it runs once; it may run once in each.

        Raises:
            ReplayedError: it has arrived before.
            SignatureError: it is too old, comes from the future, or cannot be remembered.
        """
        _, _, milliseconds, deadline, claims = opened
        rules, sent = self.rules, milliseconds / 1000
        now = rules.wall()
        if sent > now + rules.tolerance:
            raise SignatureError(
                f"it was sent {sent - now:.0f} s from now by the clock of its sender; {rules.tolerance:g} s are "
                "tolerated (clock_tolerance)",
                key_id=claims.key_id,
            )
        expires = sent + rules.max_age
        if deadline is not None and deadline / 1000 < expires:
            expires = deadline / 1000
        number = int(claims.words.number)
        verdict = self.memory.enter((scope, claims.sender, number), expires + rules.tolerance, now)
        if verdict == "new":
            return
        if verdict == "seen":
            raise ReplayedError(f"message {number} of the sender {claims.sender} has arrived before")
        if verdict == "expired":
            raise SignatureError(
                f"it expired {now - expires:.0f} s ago by the clock here: its deadline has passed, or "
                f"{rules.max_age:g} s since it was sent (signature_max_age)",
                key_id=claims.key_id,
            )
        raise ReplayMemoryFullError(
            f"this worker can remember no more requests than {rules.capacity} pages hold (replay_capacity), and "
            "would not recognise it if it came again",
            key_id=claims.key_id,
        )

    def refuses_unsigned(self, content_type: str | None) -> SignatureError | None:
        """Return why an unsigned message is refused; ``None`` if it is not."""
        if self.rules.require_encryption:
            return SignatureError("it is neither signed nor encrypted, which require_encryption asks for")
        if self.rules.require_signature:
            return SignatureError("it is not signed, which require_signature asks for")
        if self.rules.needs_signature(content_type):
            return SignatureError("it is not signed, which is needed for what runs code when it is decoded")
        return None

    def _encrypted(self, key_id: str, content: Content, bound: bytes) -> bytes:
        cipher = self.rules.ring.find(key_id)
        if not isinstance(cipher, EncryptionKey):
            raise _no_key(key_id, "encryption_key_id")
        body, content_type, content_encoding, headers = content
        kinds = text_field(content_type) + text_field(content_encoding)
        plain = b"".join((kinds, bytes_field(encode_headers(headers or {})), MARKS[len(body)], body))
        encrypted = cipher.encrypt(plain, bound)
        if len(encrypted) > self.rules.max_body:
            raise ContentRejectedError(
                f"the value takes {len(encrypted)} bytes encrypted, more than max_body={self.rules.max_body}"
            )
        return encrypted

    def _decrypted(self, key_id: str, body: bytes, bound: bytes) -> Content:
        cipher = self.rules.ring.find(key_id)
        if cipher is None:
            raise _unknown_key(key_id)
        if not isinstance(cipher, EncryptionKey):
            raise SignatureError(
                f"the key {key_id[:80]!r} is for {cipher.algorithm}, not for encryption", key_id=key_id
            )
        plain = cipher.decrypt(body, bound)
        if plain is None:
            raise SignatureError(f"the key {key_id[:80]!r} does not decrypt it: it is another one here", key_id=key_id)
        try:
            content_type, content_encoding, encoded, inner = split(plain)
            headers = decode_headers(encoded) if encoded else None
            return Content(inner or b"", text_of(content_type), text_of(content_encoding), headers)
        except (FieldsError, ValueError):
            raise SignatureError("what it holds is malformed", key_id=key_id) from None


def _unknown_key(key_id: str) -> KeyUnknownError:
    return KeyUnknownError(f"the key {key_id[:80]!r} is not in the key ring here, or expired", key_id=key_id)


def _no_key(key_id: str, setting: str) -> ConfigurationError:
    return ConfigurationError(f"the key {key_id!r} ({setting}) is no longer in the key ring, or has expired")
