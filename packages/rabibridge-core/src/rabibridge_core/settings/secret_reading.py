"""Decrypts the secrets among the settings that are given encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings.encrypted_secrets import decrypt, decrypt_old, is_encrypted
from rabibridge_core.settings.endpoints import Secret
from rabibridge_core.settings.origins import Rank, SourcedValue

if TYPE_CHECKING:
    from rabibridge_core.settings.sources import Sources
    from rabibridge_core.settings.transports import TransportDeclaration

__all__ = ["PASSPHRASE", "passphrase_of", "readable", "readable_password", "revealed"]

PASSPHRASE = "RABIBRIDGE_PASSPHRASE"  # noqa: S105 - the name of a variable
"""The variable with the passphrase; with ``_FILE`` behind it, the variable with the name of its file."""


def passphrase_of(sources: Sources) -> str | None:
    """Return the passphrase, which is taken from variables only: next to what it encrypts it would protect nothing.

    Raises:
        ConfigurationError: both variables are set, or the file cannot be used.
    """
    found = sources.find_secret([PASSPHRASE], "", [])
    return None if found is None else str(found.value)


def revealed(value: object) -> object:
    """Return the text of a :class:`Secret`, and anything else as it is."""
    return value.reveal() if isinstance(value, Secret) else value


def readable(found: SourcedValue, sources: Sources) -> SourcedValue:
    """Return a secret decrypted, if it is encrypted.

    Raises:
        ConfigurationError: it is, and there is no passphrase, or it cannot be decrypted.
    """
    text = revealed(found.value)
    if not isinstance(text, str) or not is_encrypted(text) or not sources.reads_secrets:
        return found
    passphrase = passphrase_of(sources)
    if passphrase is None:
        raise ConfigurationError(
            f"the secret ({found.source}) is encrypted, and there is no passphrase: set the environment variable "
            f"{PASSPHRASE}_FILE to the name of a file that holds it, or {PASSPHRASE} to the passphrase itself"
        )
    try:
        return SourcedValue(decrypt(text, passphrase), found.origin)
    except ConfigurationError as error:
        problem = str(error)
    raise ConfigurationError(f"the secret ({found.source}) {problem}")


def readable_password(found: SourcedValue, sources: Sources, transport: TransportDeclaration) -> SourcedValue:
    """Return a password decrypted, if it is encrypted, in our own form or, in the configuration file, in that of 0.1.

    Raises:
        ConfigurationError: it is, and cannot be decrypted.
    """
    text = revealed(found.value)
    in_file = found.rank > Rank.VARIABLE and not found.origin.secret_file
    key = sources.key("secret", "SECRET") if in_file else None
    if key is None or not isinstance(text, str) or is_encrypted(text):
        return readable(found, sources)
    variable = transport.variable("password")
    advice = f"Put the password into the environment variable {variable}, or into a file that {variable}_FILE names"
    try:
        password = decrypt_old(text, str(key.value))
        problem = "It cannot be decrypted with that secret; if it is not encrypted, remove [secret]"
    except ConfigurationError as error:
        password, problem = None, str(error)
    if password is None:
        raise ConfigurationError(
            f"the file has [secret] SECRET, so the password ({found.source}) should be encrypted as RabiBridge 0.1 did "
            f"it. {problem}. {advice}"
        )
    sources.warnings.append(
        f"The password ({found.source}) is encrypted as RabiBridge 0.1 did it, with the key beside it: whoever can "
        f"read the file can read the password. {advice}, or encrypt it with `rabibridge secret encrypt`"
    )
    return SourcedValue(password, found.origin)
