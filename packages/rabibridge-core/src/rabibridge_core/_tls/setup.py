"""What TLS is set up with: the settings are checked once, the files are read for every connection.

A certificate that was replaced on disk is therefore taken with the next connection. Nothing here can switch the
verification of certificates or host names off.
"""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core._tls.refusals import TLSRefusedError
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings.configuration_file import flaw_of_mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge_core.settings.endpoints import Endpoint, Secret
    from rabibridge_core.settings.tls_settings import TLSSettings

__all__ = ["TLSSetup", "check_tls", "exposed_key", "tls_setup"]

_log = get_logger(__name__)
_FILES = {"tls_ca_file": "the authorities", "tls_cert_file": "the certificate", "tls_key_file": "the private key"}
_told: set[str] = set()
"""Key files of which was said that others may read them; once in a process."""


class TLSSetup(NamedTuple):
    """How to set up TLS for one connection.

    Attributes:
        context: the certificates and the key.
        server_name: the name that the broker's certificate must be for.
    """

    context: ssl.SSLContext
    server_name: str


def check_tls(
    own: TLSSettings, endpoints: Sequence[Endpoint], *, plain: str, secured: str, also: Sequence[str] = ()
) -> None:
    """Check that the settings for TLS go together.

    Args:
        own: the settings.
        endpoints: the brokers.
        plain: the scheme of URLs without TLS, for the error.
        secured: the scheme of URLs with TLS, for the error.
        also: further settings that need TLS, as they are written.

    Raises:
        ConfigurationError: they do not: half a configuration, or one that a connection without TLS would not use.
    """
    files = [name for name in _FILES if getattr(own, name)]
    if own.tls_key_file and not own.tls_cert_file:
        raise ConfigurationError("tls_key_file is set without tls_cert_file: give the certificate that the key is for")
    if own.tls_key_password and not own.tls_cert_file:
        raise ConfigurationError("tls_key_password is set without tls_cert_file: leave it out, or give the certificate")
    asking = [*files, *(["tls_server_name"] if own.tls_server_name else []), *also]
    without = next((endpoint for endpoint in endpoints if not endpoint.ssl), None)
    if asking and without:
        raise ConfigurationError(
            f"{', '.join(asking)} needs TLS, which {without} does not use: write {secured}:// instead of {plain}://, "
            "or set ssl to true"
        )
    if files and any(isinstance(endpoint.ssl, ssl.SSLContext) for endpoint in endpoints):
        raise ConfigurationError(
            f"an ssl.SSLContext and {', '.join(files)} contradict each other: load the files into the context, or "
            "leave it out"
        )


def tls_setup(endpoint: Endpoint, own: TLSSettings) -> TLSSetup | None:
    """Read the files and return what TLS is set up with; ``None``: no TLS.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    if not endpoint.ssl:
        return None
    name = own.tls_server_name or endpoint.host
    if isinstance(endpoint.ssl, ssl.SSLContext):
        return TLSSetup(endpoint.ssl, name)
    for setting in _FILES:
        if path := getattr(own, setting):
            _check_file(setting, path)
    return TLSSetup(_context(own), name)


def exposed_key(own: TLSSettings) -> str:
    """Say that others may read the private key; empty: they may not, or there is none."""
    path = own.tls_key_file or own.tls_cert_file
    if path is None or os.name != "posix":
        return ""
    try:
        mode = stat.S_IMODE(Path(path).stat().st_mode)
    except OSError:
        return ""  # reading it says why
    if not mode & stat.S_IROTH:
        return ""
    return f"everybody on this machine may read the private key {path} (mode {mode:o}): run chmod o-r on it"


def _check_file(setting: str, path: str) -> None:
    problem = ""
    try:
        with Path(path).open("rb") as file:
            problem = flaw_of_mode(os.fstat(file.fileno()))
            file.read(1)
    except OSError as error:
        problem = "is a folder" if os.path.isdir(path) else f"cannot be read: {error.strerror}"
    if problem:
        raise TLSRefusedError(f"the file {path} with {_FILES[setting]}, which {setting} names, {problem}")


def _context(own: TLSSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=own.tls_ca_file)
    except (ssl.SSLError, OSError) as error:
        raise TLSRefusedError(
            f"{own.tls_ca_file} holds no certificates in PEM ({_reason(error)}): check tls_ca_file"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if own.tls_cert_file:
        _load_certificate(context, own.tls_cert_file, own.tls_key_file, own.tls_key_password)
        flaw = exposed_key(own)
        if flaw and flaw not in _told:
            _told.add(flaw)
            _log.warning("%s", flaw, extra=log_fields("tls.flaw"))
    return context


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str | None, password: Secret | None) -> None:
    asked = False

    def passphrase() -> str:  # without it, OpenSSL asks on the terminal
        nonlocal asked
        asked = True
        return password.reveal() if password else ""

    problem = ""
    try:
        context.load_cert_chain(certificate, key, passphrase)
    except (ssl.SSLError, OSError, ValueError) as error:
        problem = _reason(error)
    if not problem:
        return
    where = f"{certificate} and {key}" if key else certificate
    if asked and password is None:
        raise TLSRefusedError(
            f"the private key in {key or certificate} is encrypted: set tls_key_password, or its file"
        )
    if asked:
        raise TLSRefusedError(f"tls_key_password does not open the private key in {key or certificate}")
    if "KEY_VALUES_MISMATCH" in problem:
        raise TLSRefusedError(f"{where} do not belong together: the key is not that of the certificate")
    raise TLSRefusedError(
        f"{where} cannot be used: they must hold a certificate and its private key in PEM ({problem})"
    )


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__)
