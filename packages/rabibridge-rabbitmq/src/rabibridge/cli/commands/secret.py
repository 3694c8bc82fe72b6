"""``rabibridge secret encrypt`` and ``rabibridge secret decrypt``.

Neither the secret nor the passphrase is ever an argument, which every user of the machine could read in the list of
processes: they come from a prompt that does not echo, from standard input, from a file, or from the environment.
"""

from __future__ import annotations

import os
import sys
from getpass import getpass
from typing import Annotated

import typer

from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_line
from rabibridge.cli.runtime import report_errors
from rabibridge_core.errors import ConfigurationError

__all__ = ["app"]

app = command_app(help="Encrypt a password or a key for the configuration, or decrypt one.")

_MAX_SIZE = 64 * 1024
_PassphraseFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="The file with the passphrase. Default: RABIBRIDGE_PASSPHRASE_FILE, RABIBRIDGE_PASSPHRASE, or a prompt.",
    ),
]


@app.command(
    epilog="""\b
Examples:
  rabibridge secret encrypt                              asks for the secret and the passphrase
  rabibridge secret encrypt --passphrase-file /etc/rabibridge/passphrase < password
"""
)
def encrypt(passphrase_file: _PassphraseFile = None) -> None:
    """Print a secret encrypted, as it goes into the configuration in place of the secret.

    The secret is asked for, or read from standard input if that is no terminal. Programs read it with the same
    passphrase, in RABIBRIDGE_PASSPHRASE_FILE or RABIBRIDGE_PASSPHRASE.
    """
    from rabibridge_core.settings.encrypted_secrets import encrypt as encrypted

    with report_errors():
        secret = _input("Secret: ", "secret", again=True)
        print_line(encrypted(secret, _passphrase(passphrase_file, again=True)))


@app.command()
def decrypt(passphrase_file: _PassphraseFile = None) -> None:
    """Print the secret that was encrypted.

    What `secret encrypt` has printed is asked for, or read from standard input.
    """
    from rabibridge_core.settings.encrypted_secrets import decrypt as decrypted
    from rabibridge_core.settings.encrypted_secrets import is_encrypted

    with report_errors():
        text = _input("Encrypted secret: ", "encrypted secret")
        if not is_encrypted(text):
            raise ConfigurationError("the input is no encrypted secret: it must begin with rabibridge-secret:")
        passphrase = _passphrase(passphrase_file)
        try:
            secret = decrypted(text, passphrase)
        except ConfigurationError as error:
            raise ConfigurationError(f"the secret {error}") from None
        print_line(secret)


def _input(prompt: str, what: str, *, again: bool = False) -> str:
    if sys.stdin.isatty():
        return _ask(prompt, what, again=again)
    data = sys.stdin.buffer.read(_MAX_SIZE + 1)
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        text = ""
    if not text.strip() or len(data) > _MAX_SIZE:
        raise ConfigurationError(f"standard input must hold the {what}: UTF-8 text of 1 to {_MAX_SIZE} bytes")
    return text


def _passphrase(file: str | None, *, again: bool = False) -> str:
    from rabibridge_core.settings.configuration_file import ConfigurationFile
    from rabibridge_core.settings.secret_files import read_secret
    from rabibridge_core.settings.secret_reading import PASSPHRASE, passphrase_of
    from rabibridge_core.settings.sources import FILE_SUFFIX, Sources

    if file is not None:
        return read_secret(file, "the option --passphrase-file")
    variables = {name: os.environ[name] for name in (PASSPHRASE, PASSPHRASE + FILE_SUFFIX) if name in os.environ}
    nowhere = ConfigurationFile(None, named=False, note="")
    found = passphrase_of(Sources({}, {}, environ=variables, file=nowhere))
    if found is not None:
        return found
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"there is no passphrase, and no terminal to ask for it on: use --passphrase-file, or set {PASSPHRASE}"
            f"{FILE_SUFFIX} or {PASSPHRASE}"
        )
    return _ask("Passphrase: ", "passphrase", again=again)


def _ask(prompt: str, what: str, *, again: bool) -> str:
    try:
        text = getpass(prompt)
        if again and text and getpass(f"{prompt[:-2]}, again: ") != text:
            raise ConfigurationError(f"the two inputs differ; nothing was done with the {what}")
    except EOFError:
        text = ""
    if not text.strip():
        raise ConfigurationError(f"the {what} is empty")
    return text
