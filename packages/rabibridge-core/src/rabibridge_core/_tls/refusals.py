"""Says why TLS failed, and what to do about it.

An alert that the broker sends arrives as an error of OpenSSL that bears its name; with TLS 1.3, that of a client
certificate comes only after the handshake, instead of the first bytes of the broker.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple

from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from rabibridge_core.settings.endpoints import Endpoint
    from rabibridge_core.settings.tls_settings import TLSSettings

__all__ = ["TLSAdvice", "TLSRefusedError", "tls_refusal", "verification_problem"]

_DEPTH = 8
_SELF_SIGNED, _NOT_YET_VALID, _EXPIRED = 18, 9, 10
_UNKNOWN_ISSUER = (2, 19, 20, 21, 27)
_OTHER_NAME = (62, 64)
"""X509_V_ERR_* of OpenSSL (x509_vfy.h)."""
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_OTHER_VERSION = ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE")
_NO_CIPHER = ("INSUFFICIENT_SECURITY", "HANDSHAKE_FAILURE")
"""What is sent where nothing fits; Erlang 27 sends the first also where only the version does not."""
_CERTIFICATE_ALERTS = {
    "UNKNOWN_CA": "does not trust the authority that has issued {it}: let it be issued by an authority in the broker's "
    "{trusted}, or add that authority there",
    "CERTIFICATE_REVOKED": "says that {it} is revoked: let it be issued anew",
    "CERTIFICATE_EXPIRED": "says that {it} has expired: renew it",
    "UNSUPPORTED_CERTIFICATE": "says that {it} is not for clients: let it be issued with the extended key usage "
    "clientAuth",
    "BAD_CERTIFICATE": "does not accept {it}: its log says why",
    "CERTIFICATE_UNKNOWN": "does not accept {it}: its log says why",
    "DECRYPT_ERROR": "does not accept the signature made with the key of {it}: check that the key is that of the "
    "certificate",
}


class TLSAdvice(NamedTuple):
    """What is particular to a broker, for the errors.

    Attributes:
        port: how to find its port for TLS.
        trusted: the setting of the broker that holds the authorities that it trusts.
        versions: what to enable there for TLS 1.2 and later.
    """

    port: str
    trusted: str
    versions: str


class TLSRefusedError(ConfigurationError):
    """TLS, a certificate or its user is refused; the next attempt may find files or a broker that were mended.

    It does not leave the connection: users get a plain ConfigurationError.
    """


def tls_refusal(error: BaseException, endpoint: Endpoint, own: TLSSettings, advice: TLSAdvice) -> str:
    """Return why TLS failed and what to do; empty if the cause of ``error`` is something else.

    Args:
        error: what was raised while connecting, of any library.
        endpoint: the broker.
        own: the settings.
        advice: what is particular to the broker.
    """
    found = _ssl_error(error)
    if found is None:
        return ""
    if isinstance(found, ssl.SSLCertVerificationError):
        return verification_problem(found, own.tls_server_name or endpoint.host)
    reason = found.reason or ""
    own_certificate = own.tls_cert_file is not None or isinstance(endpoint.ssl, ssl.SSLContext)
    if reason.endswith("CERTIFICATE_REQUIRED") or (reason.endswith("HANDSHAKE_FAILURE") and not own_certificate):
        return "the broker requires a client certificate: set tls_cert_file and tls_key_file"
    for alert, text in _CERTIFICATE_ALERTS.items():
        if reason.endswith(f"ALERT_{alert}"):
            it = f"the client certificate{_in_file(own)}"
            return f"the broker {text.format(it=it, trusted=advice.trusted)}"
    if reason.endswith(_OTHER_VERSION):
        return f"the broker offers no version of TLS from 1.2 on: {advice.versions}"
    if reason.endswith(_NO_CIPHER):
        return (
            "broker and client have no cipher in common, or the broker offers no version of TLS from 1.2 on, or it "
            f"does not accept the client certificate{_in_file(own)}: its log says which"
        )
    if reason.endswith(_NO_TLS):
        return (
            f"this port does not speak TLS: use the broker's port for TLS, {advice.port}. A connection without TLS is "
            "never tried instead"
        )
    return ""


def verification_problem(error: ssl.SSLCertVerificationError, name: str) -> str:
    """Return why the broker's certificate is not accepted, and what to do.

    Args:
        error: as raised by the handshake.
        name: the host name that the certificate should be for.
    """
    code, trust = error.verify_code, "give the authority that has issued it as tls_ca_file"
    if code == _EXPIRED:
        return "the broker's certificate, or that of an authority above it, has expired: renew it on the broker"
    if code == _NOT_YET_VALID:
        return "the broker's certificate is not valid yet: check the clocks of both machines"
    if code == _SELF_SIGNED:
        return (
            "the broker's certificate is self-signed, and not one that is trusted: give it as tls_ca_file, or let it "
            "be issued by an authority"
        )
    if code in _UNKNOWN_ISSUER:
        return f"the broker's certificate was issued by an authority that is not trusted: {trust}"
    if code in _OTHER_NAME:
        return (
            f"the broker's certificate is not for {name!r}: use the host name that is in it, let it be issued for this "
            "one, or set tls_server_name to the name that it is for"
        )
    return f"the broker's certificate is not accepted: {error.verify_message}"


def _in_file(own: TLSSettings) -> str:
    return f" in {own.tls_cert_file}" if own.tls_cert_file else ""


def _ssl_error(error: BaseException | None) -> ssl.SSLError | None:
    for _ in range(_DEPTH):  # aiormq makes circles
        if error is None or isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None
