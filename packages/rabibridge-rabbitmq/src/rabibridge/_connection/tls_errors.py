"""What RabbitMQ adds to the errors of TLS: log-ins by certificate, and ports that expect TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiormq.exceptions import AuthenticationError

from rabibridge_core._tls.certificates import read_certificate
from rabibridge_core._tls.refusals import TLSAdvice
from rabibridge_core._tls.refusals import tls_refusal as _refusal

if TYPE_CHECKING:
    from rabibridge.settings import RabbitMQSettings
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["certificate_name", "expects_tls", "login_advice", "tls_refusal"]

_ADVICE = TLSAdvice(
    port="5671 as a rule",
    trusted="ssl_options.cacertfile",
    versions="enable tlsv1.2 or tlsv1.3 there (ssl_options.versions)",
)


def tls_refusal(error: BaseException, endpoint: Endpoint, own: RabbitMQSettings) -> str:
    """Return why TLS failed and what to do; empty if the cause of ``error`` is something else.

    Args:
        error: what was raised while connecting, of any library.
        endpoint: the broker.
        own: the settings.
    """
    return _refusal(error, endpoint, own, _ADVICE)


def expects_tls(endpoint: Endpoint) -> str:
    """Return what to say of a port that has answered plain AMQP with a message of TLS."""
    return (
        f"port {endpoint.port} expects TLS: use amqps:// instead of amqp:// (ssl = true), or the broker's port without "
        "TLS, 5672 as a rule"
    )


def login_advice(error: BaseException, own: RabbitMQSettings) -> str:
    """Return what to do about a mechanism that the broker does not offer, or a certificate without a user there.

    Args:
        error: what was raised while logging in, of any library.
        own: the settings.
    """
    cause = error.__cause__
    if type(cause) is AuthenticationError:
        offered = ", ".join(str(cause.args[0]).split()) if cause.args else "nothing"
        if own.auth_mechanism == "external":
            return (
                f"the broker does not offer the log-in EXTERNAL, only {offered}: enable its plug-in "
                "rabbitmq_auth_mechanism_ssl, and list EXTERNAL under auth_mechanisms in its rabbitmq.conf"
            )
        return (
            f"the broker does not offer the log-in PLAIN, only {offered}: log in by a client certificate "
            "(auth_mechanism = external), or let it offer PLAIN"
        )
    return ""


def certificate_name(own: RabbitMQSettings) -> str:
    """Return the common name of the client certificate; empty if it has none, or is in an SSLContext."""
    found = read_certificate(own.tls_cert_file) if own.tls_cert_file else None
    return found.common_name if found else ""
