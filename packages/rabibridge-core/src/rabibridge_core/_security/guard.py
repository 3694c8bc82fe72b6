"""Seals what is sent and opens what arrives: signatures and encryption of one message, without any transport."""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from rabibridge_core._protocol.headers import ERROR_KIND, IDEMPOTENCY_KEY
from rabibridge_core._protocol.remote_errors import REFUSALS
from rabibridge_core._security.fields import FieldsError, decode_headers, encode_headers, join, split
from rabibridge_core._security.keys import EncryptionKey
from rabibridge_core._security.refusals import Refusals
from rabibridge_core._security.replay import ReplayMemory
from rabibridge_core._security.signature import (
    ENCRYPTED,
    ENCRYPTED_TYPE,
    SIGNATURE,
    Claims,
    Content,
    bound_bytes,
    format_signature,
    optional_bytes,
    optional_text,
    parse_signature,
    signed_headers,
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

    from rabibridge_core._security.keys import Key
    from rabibridge_core._security.replay import Mark
    from rabibridge_core._security.rules import Rules
    from rabibridge_core._security.signature import Direction
    from rabibridge_core.transport import HeaderValue

__all__ = ["Guard", "Opened", "ReplayedError"]

_READABLE: Final = (IDEMPOTENCY_KEY,)
"""Headers that stay readable in an encrypted message: the transport looks at them."""
_EVERY: Final = ("",)


class ReplayedError(Exception):
    """A request has arrived before: it is dropped, because a reply would reach the caller of the first copy."""


class Opened(NamedTuple):
    """What a message held, once its signature was found right.

    Attributes:
        content: what the sender gave, without what signing and encrypting has added.
        key_id: the key that it was signed with.
        encrypted_with: the key that it was encrypted with; empty: none.
        sent: when it was sent, in seconds since 1970 by the clock of the sender.
        deadline: the deadline that the sender gave, by the same clock; ``None``: none.
        mark: what tells this message from all others.
    """

    content: Content
    key_id: str
    encrypted_with: str
    sent: float
    deadline: float | None
    mark: Mark


class Guard:
    """Signs, encrypts and checks the messages of one connection."""

    __slots__ = ("_numbers", "_sender", "memory", "refusals", "rules")

    def __init__(self, rules: Rules, name: str) -> None:
        """Follow ``rules`` for the client or server of this name."""
        self.rules = rules
        self.refusals = Refusals(name)
        self.memory = ReplayMemory(rules.capacity)
        self._sender = secrets.token_hex(8)
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
        rules, now = self.rules, self.rules.wall()
        key = rules.ring.find(rules.signing_id)
        if key is None or isinstance(key, EncryptionKey) or not key.signs:
            raise _no_key(rules.signing_id, "signing_key_id")
        deadline = None if timeout is None else int((now + timeout) * 1000)
        claims = Claims(rules.signing_id, self._sender, next(self._numbers), int(now * 1000), deadline, target)
        cipher_id = rules.encryption_id if encrypt_with is None else encrypt_with
        headers = signed_headers(content.headers or {})
        outer = Content(content.body, content.content_type, content.content_encoding, headers)
        if cipher_id:
            readable = {name: headers[name] for name in _READABLE if name in headers}
            outer = Content(b"", ENCRYPTED_TYPE, None, {**readable, ENCRYPTED: cipher_id})
        bound = bound_bytes(direction, rules.namespace, claims, correlation_id, reply_address, persistent, outer)
        if cipher_id:
            cipher = rules.ring.find(cipher_id)
            if not isinstance(cipher, EncryptionKey):
                raise _no_key(cipher_id, "encryption_key_id")
            kinds = optional_bytes(content.content_type), optional_bytes(content.content_encoding)
            plain = join(*kinds, encode_headers(headers), bytes(content.body))
            outer = outer._replace(body=cipher.encrypt(plain, bound))
            if len(outer.body) > rules.max_body:
                raise ContentRejectedError(
                    f"the value takes {len(outer.body)} bytes encrypted, more than max_body={rules.max_body}"
                )
        signature = format_signature(claims, key.sign(bound + join(bytes(outer.body))))
        return outer._replace(headers={**(outer.headers or {}), SIGNATURE: signature})

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
        claims = parse_signature((content.headers or {}).get(SIGNATURE))
        key_id, key = claims.key_id, self._key(claims.key_id)
        if isinstance(key, EncryptionKey):
            raise SignatureError(f"the key {key_id!r} is for {key.algorithm}, not for signatures", key_id=key_id)
        content = content._replace(body=bytes(content.body), headers=signed_headers(content.headers or {}))
        bound = bound_bytes(direction, self.rules.namespace, claims, correlation_id, reply_address, persistent, content)
        if not key.verify(claims.signature, bound + join(content.body)):
            raise SignatureError(
                f"the signature with the key {key_id!r} is wrong: the message was changed or moved, or that key is "
                "another one here",
                key_id=key_id,
            )
        if targets is not None and claims.target not in targets:
            raise SignatureError(f"it was signed for {claims.target[:80]!r}, not for this service", key_id=key_id)
        headers = content.headers or {}
        cipher_id = headers.get(ENCRYPTED, "")
        if isinstance(cipher_id, str) and cipher_id:
            content = self._decrypted(cipher_id, content.body, bound)
        elif self.rules.require_encryption and direction != "cancel" and headers.get(ERROR_KIND) not in REFUSALS:
            raise SignatureError("it is not encrypted, which require_encryption asks for", key_id=key_id)
        return Opened(
            content._replace(headers=content.headers or None),
            key_id,
            str(cipher_id),
            claims.sent / 1000,
            None if claims.deadline is None else claims.deadline / 1000,
            ("", claims.sender, claims.number),
        )

    def admit(self, opened: Opened, scope: str = "") -> Opened:
        """Let a request run once.

        Args:
            opened: the request.
            scope: within which it runs once; it may run once in each.

        Raises:
            ReplayedError: it has arrived before.
            SignatureError: it is too old, comes from the future, or cannot be remembered.
        """
        rules, now, key_id = self.rules, self.rules.wall(), opened.key_id
        if opened.sent > now + rules.tolerance:
            raise SignatureError(
                f"it was sent {opened.sent - now:.0f} s from now by the clock of its sender; {rules.tolerance:g} s are "
                "tolerated (clock_tolerance)",
                key_id=key_id,
            )
        expires = opened.sent + rules.max_age
        if opened.deadline is not None:
            expires = min(expires, opened.deadline)
        mark = (scope, *opened.mark[1:])
        verdict = self.memory.enter(mark, expires + rules.tolerance, now)
        if verdict == "seen":
            raise ReplayedError(f"message {mark[2]} of the sender {mark[1]} has arrived before")
        if verdict == "expired":
            raise SignatureError(
                f"it expired {now - expires:.0f} s ago by the clock here: its deadline has passed, or "
                f"{rules.max_age:g} s since it was sent (signature_max_age)",
                key_id=key_id,
            )
        if verdict == "full":
            raise ReplayMemoryFullError(
                f"this worker can remember no more requests than {rules.capacity} pages hold (replay_capacity), and "
                "would not recognise it if it came again",
                key_id=key_id,
            )
        return opened._replace(mark=mark)

    def refuses_unsigned(self, content_type: str | None) -> SignatureError | None:
        """Return why an unsigned message is refused; ``None`` if it is not."""
        if self.rules.require_encryption:
            return SignatureError("it is neither signed nor encrypted, which require_encryption asks for")
        if self.rules.require_signature:
            return SignatureError("it is not signed, which require_signature asks for")
        if self.rules.needs_signature(content_type):
            return SignatureError("it is not signed, which is needed for what runs code when it is decoded")
        return None

    def _key(self, key_id: str) -> Key:
        key = self.rules.ring.find(key_id)
        if key is None:
            raise KeyUnknownError(f"the key {key_id[:80]!r} is not in the key ring here, or expired", key_id=key_id)
        return key

    def _decrypted(self, key_id: str, body: bytes, bound: bytes) -> Content:
        cipher = self._key(key_id)
        if not isinstance(cipher, EncryptionKey):
            raise SignatureError(
                f"the key {key_id[:80]!r} is for {cipher.algorithm}, not for encryption", key_id=key_id
            )
        plain = cipher.decrypt(body, bound)
        if plain is None:
            raise SignatureError(f"the key {key_id[:80]!r} does not decrypt it: it is another one here", key_id=key_id)
        try:
            content_type, content_encoding, encoded, inner = split(plain)
            headers: dict[str, HeaderValue] = decode_headers(encoded or b"")
            return Content(inner or b"", optional_text(content_type), optional_text(content_encoding), headers)
        except (FieldsError, ValueError):
            raise SignatureError("what it holds is malformed", key_id=key_id) from None


def _no_key(key_id: str, setting: str) -> ConfigurationError:
    return ConfigurationError(f"the key {key_id!r} ({setting}) is no longer in the key ring, or has expired")
