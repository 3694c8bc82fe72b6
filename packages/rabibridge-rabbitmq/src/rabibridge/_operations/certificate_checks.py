"""Checks of TLS and of certificates: how they protect, whom they are for, and for how much longer."""

from __future__ import annotations

import contextlib
import ssl
import time
from typing import TYPE_CHECKING, Any, Protocol

from rabibridge_core._tls.certificates import read_certificate
from rabibridge_core._tls.setup import exposed_key
from rabibridge_core.operations.findings import Finding, Status

if TYPE_CHECKING:
    from rabibridge.settings import RabbitMQSettings
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["client_certificate_findings", "failure_of", "tls_finding"]

_RENEW_DAYS = 14
_DAY = 86400.0


class GreetedPeer(Protocol):
    """A broker that has answered."""

    @property
    def certificate(self) -> dict[str, Any] | None:
        """Its certificate if TLS was verified."""
        ...

    @property
    def tls_version(self) -> str:
        """The version of TLS; empty without TLS."""
        ...


def failure_of(subject: str, refusal: str) -> Finding:
    """Return a failure out of a text that names the reason, and behind a colon what to do."""
    text, _, advice = refusal.partition(": ")
    return Finding("tls", subject, Status.FAILURE, text, advice)


def client_certificate_findings(own: RabbitMQSettings) -> list[Finding]:
    """Return what is to be said of the certificate and the key that the settings name; empty: they name none."""
    path = own.tls_cert_file
    found = read_certificate(path) if path else None
    if path is None or found is None:
        return []  # where the file cannot be read, the check of the connection says so
    left = (found.not_after - time.time()) / _DAY
    whose = f"client certificate of {found.common_name!r}" if found.common_name else "client certificate"
    status, text, advice = Status.OK, f"{whose}, valid for another {left:.0f} days", ""
    if left < 0:
        status, text, advice = Status.FAILURE, f"{whose}, which has expired", "renew it, and replace the file"
    elif left < _RENEW_DAYS:
        status, advice = Status.WARNING, "renew it, and replace the file: it is read again with the next connection"
    findings = [Finding("tls", path, status, text, advice)]
    if flaw := exposed_key(own):
        problem, _, advice = flaw.partition(": ")
        findings.append(Finding("tls", own.tls_key_file or path, Status.WARNING, problem, advice))
    return findings


def tls_finding(endpoint: Endpoint, subject: str, peer: GreetedPeer) -> Finding:
    """Return how well the connection to a broker is protected."""
    if not endpoint.ssl:
        with contextlib.suppress(ValueError, IndexError):
            host = subject.rpartition(":")[0]
            if host.startswith("127.") or host == "::1":
                return Finding("tls", subject, Status.OK, "not used, on this machine")
        return Finding(
            "tls",
            subject,
            Status.WARNING,
            "not used: passwords and calls cross the network readable",
            "use amqps:// and the port 5671, unless the network itself is encrypted",
        )
    if not peer.certificate:
        return Finding(
            "tls",
            subject,
            Status.WARNING,
            f"{peer.tls_version}, but the certificate is not verified",
            "let the SSLContext verify certificates (CERT_REQUIRED, check_hostname)",
        )
    left = (ssl.cert_time_to_seconds(str(peer.certificate["notAfter"])) - time.time()) / _DAY
    text = f"{peer.tls_version}, certificate valid for another {left:.0f} days"
    if left < _RENEW_DAYS:
        return Finding("tls", subject, Status.WARNING, text, "renew the certificate of the broker")
    return Finding("tls", subject, Status.OK, text)
