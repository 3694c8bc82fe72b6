"""Checks the settings for TLS, and those for logging in by certificate with them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from rabibridge.settings import rabbitmq_settings
from rabibridge_core._tls.setup import check_tls as _check_tls
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from rabibridge_core.settings import Settings

__all__ = ["check_tls"]


def check_tls(settings: Settings) -> None:
    """Check that the settings for TLS go together.

    Raises:
        ConfigurationError: they do not: half a configuration, or one that a connection without TLS would not use.
    """
    own = rabbitmq_settings(settings)
    external = own.auth_mechanism == "external"
    also = ["auth_mechanism=external"] if external else []
    _check_tls(own, settings.endpoints, plain="amqp", secured="amqps", also=also)
    has_context = any(isinstance(endpoint.ssl, ssl.SSLContext) for endpoint in settings.endpoints)
    if external and not has_context and not own.tls_cert_file:
        raise ConfigurationError(
            "auth_mechanism is external, but there is no client certificate to log in by: set tls_cert_file and "
            "tls_key_file, or pass an ssl.SSLContext that has one"
        )
