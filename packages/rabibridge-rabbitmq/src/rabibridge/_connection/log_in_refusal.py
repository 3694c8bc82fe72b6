"""Tells refusals from failures when no connection could be made: with the former, waiting alone does not help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge._amqp.methods import ACCESS_REFUSED, NOT_ALLOWED
from rabibridge._connection.broker_limits import broker_limit
from rabibridge._connection.tls_errors import certificate_name, expects_tls, login_advice, tls_refusal
from rabibridge._connection.tls_probe import alert_of
from rabibridge_core._tls.refusals import TLSRefusedError
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from rabibridge._connection.multiplexer import Multiplexer
    from rabibridge.settings import RabbitMQSettings
    from rabibridge_core._tls.setup import TLSSetup
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["refusal_of"]

_PROBE_TIME = 5.0
"""How long a broker may take to refuse a certificate, in seconds; one that is silent for so long has accepted it."""
_LOGIN_REFUSED = (ACCESS_REFUSED, NOT_ALLOWED)
"""Reply codes with which the broker refuses the user, the password or the virtual host."""


async def refusal_of(
    raised: ConnectionLostError | ConfigurationError,
    endpoint: Endpoint,
    own: RabbitMQSettings,
    multiplexer: Multiplexer | None,
    tls: TLSSetup | None,
) -> ConfigurationError | ConnectionLostError | None:
    """Return a better error than the one that was raised while connecting; ``None``: there is none.

    A limit of connections is no refusal, unless it is 0: others may end theirs meanwhile.

    Args:
        raised: what was raised.
        endpoint: the broker.
        own: the settings.
        multiplexer: the socket, if it was connected.
        tls: how TLS was set up.
    """
    what = f"cannot connect to {endpoint}"
    if endpoint.ssl and (why := tls_refusal(raised, endpoint, own)):
        return TLSRefusedError(f"{what}: {why}")
    if multiplexer is None:
        return None
    if tls and not multiplexer.started and (alert := await alert_of(endpoint.host, endpoint.port, tls, _PROBE_TIME)):
        why = tls_refusal(alert, endpoint, own)
        return TLSRefusedError(f"{what}: {why}") if why else None
    if multiplexer.met_tls and not endpoint.ssl:
        return TLSRefusedError(f"{what}: {expects_tls(endpoint)}")
    external = own.auth_mechanism == "external"
    if advice := login_advice(raised, own):
        return TLSRefusedError(f"{what}: {advice}") if external else ConfigurationError(f"{what}: {advice}")
    if multiplexer.close_code not in _LOGIN_REFUSED:
        return None
    if limit := broker_limit(multiplexer.close_text):
        reached = f"{what}: {multiplexer.close_text}; {limit.remedy}"
        return ConnectionLostError(reached, executed=False) if limit.maximum else ConfigurationError(reached)
    if "limit" in multiplexer.close_text:
        return ConnectionLostError(f"{what}: {multiplexer.close_text}", executed=False)
    if external and multiplexer.close_code == ACCESS_REFUSED:
        return TLSRefusedError(f"{what}: {_unknown_user(own)} ({multiplexer.close_text})")
    if isinstance(raised, ConfigurationError):
        return None
    check = "whether there is a user for the client certificate and" if external else "the username, the password and"
    return ConfigurationError(
        f"{what}: {multiplexer.close_text}; check {check} whether the user may use the virtual host "
        f"{endpoint.virtualhost!r}"
    )


def _unknown_user(own: RabbitMQSettings) -> str:
    name = certificate_name(own)
    whose = f" with the common name {name!r}" if name else ""
    return (
        f"the broker has no user for the client certificate{whose}, or none was sent: add the user that it stands for "
        "(the common name with ssl_cert_login_from = common_name, otherwise the whole subject), or use the certificate "
        "of another one"
    )
