"""Makes the rules of a client or server from its settings, and refuses half a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._codec.codec import Codec
from rabibridge_core._security.guard import Guard
from rabibridge_core._security.key_ring import KeyRing, parse_ring
from rabibridge_core._security.keys import EncryptionKey
from rabibridge_core._security.rules import Rules
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from rabibridge_core.settings import Settings

__all__ = ["guard_from", "has_keys", "rules_from"]


def guard_from(settings: Settings, name: str) -> Guard | None:
    """Return what signs and checks for an operator; ``None``: there are no keys.

    Raises:
        ConfigurationError: half of a configuration is given.
    """
    if not has_keys(settings):
        return None
    return Guard(rules_from(settings, Codec.from_settings(settings, trust_broker=True)), name)


def has_keys(settings: Settings) -> bool:
    """Tell whether messages are signed.

    Raises:
        ConfigurationError: settings that need keys are given without any, or there are two key rings.
    """
    if settings.signing_keys is not None and settings.key_ring is not None:
        raise ConfigurationError("both signing_keys and key_ring are given: leave one of them out")
    if settings.signing_keys is not None or settings.key_ring is not None:
        return True
    needing = ("signing_key_id", "encryption_key_id", "require_signature", "require_encryption")
    for name in needing:
        if getattr(settings, name):
            raise ConfigurationError(f"{name} is given, but no keys are: give signing_keys or key_ring, too")
    return False


def rules_from(settings: Settings, codec: Codec) -> Rules:
    """Return the rules that the settings describe; ``codec`` decodes what is accepted.

    Raises:
        ConfigurationError: a key is malformed or missing, or cannot be used for what the settings want.
    """
    if settings.signing_keys is not None:
        ring = KeyRing(parse_ring(settings.signing_keys.reveal(), "signing_keys"))
    else:
        assert settings.key_ring is not None
        ring = KeyRing.from_file(settings.key_ring, "key_ring")
    signing_id, encryption_id = settings.signing_key_id, settings.encryption_key_id
    if signing_id is None:
        raise ConfigurationError("there are keys, but signing_key_id does not say which one signs")
    key = ring.find(signing_id)
    if key is None:
        raise ConfigurationError(f"signing_key_id is {signing_id!r}: there is no such key, or it has expired")
    if isinstance(key, EncryptionKey) or not key.signs:
        raise ConfigurationError(f"signing_key_id is {signing_id!r}: that key is {key.algorithm}, which cannot sign")
    if encryption_id is not None:
        key = ring.find(encryption_id)
        if key is None:
            raise ConfigurationError(f"encryption_key_id is {encryption_id!r}: there is no such key, or it has expired")
        if not isinstance(key, EncryptionKey):
            raise ConfigurationError(
                f"encryption_key_id is {encryption_id!r}: that key is {key.algorithm}, which cannot encrypt"
            )
    elif settings.require_encryption:
        raise ConfigurationError("require_encryption is given, but encryption_key_id does not say which key encrypts")

    def needs_signature(content_type: str | None) -> bool:
        return not settings.trust_broker and codec.runs_code(content_type)

    return Rules(
        ring=ring,
        signing_id=signing_id,
        encryption_id=encryption_id or "",
        require_signature=settings.require_signature or settings.require_encryption,
        require_encryption=settings.require_encryption,
        max_age=settings.signature_max_age,
        tolerance=settings.clock_tolerance,
        capacity=settings.replay_capacity,
        namespace=str(getattr(settings, "namespace", None) or ""),
        max_body=settings.max_body,
        needs_signature=needs_signature,
    )
