"""The settings of signatures and encryption, which every client and server has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rabibridge_core.settings.fields import (
    CheckedSettings,
    boolean_setting,
    integer_setting,
    seconds_setting,
    setting,
)
from rabibridge_core.settings.parsers import parse_key_id, parse_key_ring, parse_path

if TYPE_CHECKING:
    from rabibridge_core.settings.endpoints import Secret

__all__ = ["SecuritySettings"]

_SECURITY = "security"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecuritySettings(CheckedSettings):
    """What is signed, encrypted and accepted; docs/signing.md explains it. Durations are in seconds."""

    signing_keys: Secret | None = setting(  # noqa: RUF009 - this is field() with metadata
        default=None,
        parse=parse_key_ring,
        allowed="a text with one key a line: id, algorithm, the key in base64, and optionally a date",
        secret=True,
        group=_SECURITY,
        meaning="the keys that are accepted, one a line or separated by semicolons: id, algorithm, the key in base64, "
        "and optionally until when it is valid",
    )
    key_ring: str | None = setting(
        default=None,
        parse=parse_path,
        allowed="the name of a file",
        decides="whose code runs here",
        group=_SECURITY,
        meaning="file with such keys, in place of `signing_keys`; it is read again when it changes",
    )
    signing_key_id: str | None = setting(
        default=None,
        parse=parse_key_id,
        allowed="the id of a key: 1 to 64 of the characters A-Z a-z 0-9 _ . -",
        group=_SECURITY,
        meaning="the key that signs all that is sent; needed as soon as there are keys",
    )
    encryption_key_id: str | None = setting(
        default=None,
        parse=parse_key_id,
        allowed="the id of a key: 1 to 64 of the characters A-Z a-z 0-9 _ . -",
        group=_SECURITY,
        meaning="the key that encrypts all requests, and the replies to encrypted ones; `none`: requests are not "
        "encrypted",
    )
    require_signature: bool = boolean_setting(
        default=False, group=_SECURITY, meaning="refuses what arrives without a signature, whatever its format"
    )
    require_encryption: bool = boolean_setting(
        default=False, group=_SECURITY, meaning="refuses what arrives without encryption"
    )
    signature_max_age: float = seconds_setting(
        1,
        366 * 86400,
        default=86400.0,
        group=_SECURITY,
        meaning="how long a worker accepts a signed request after it was sent, if its deadline is not earlier",
    )
    clock_tolerance: float = seconds_setting(
        0,
        3600,
        default=30.0,
        group=_SECURITY,
        meaning="how far the clock of who sends signed requests may be from that of the worker",
    )
    replay_capacity: int = integer_setting(
        1,
        2**24,
        default=65_536,
        unit="pages",
        group=_SECURITY,
        meaning="how many requests a worker can recognise if they come again: a page of some 300 bytes holds up to "
        "1,024 of one sender. When all are in use, signed requests are refused",
    )
