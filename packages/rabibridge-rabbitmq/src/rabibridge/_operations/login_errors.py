"""Tells why a broker lets a user not in: the password, the virtual host, or a limit."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from rabibridge_core._tls.refusals import TLSRefusedError
from rabibridge_core.operations.findings import Finding, Status

if TYPE_CHECKING:
    from rabibridge_core.errors import RabiBridgeError
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["login_finding"]

_LOOPBACK = re.compile(r"localhost|127\..*|::1")


def login_finding(endpoint: Endpoint, error: RabiBridgeError, mechanisms: str) -> Finding:
    """Return what has gone wrong.

    Args:
        endpoint: the broker and the login.
        error: as raised when logging in.
        mechanisms: the ways to log in that the broker offers, separated by blanks.
    """
    text = str(error).removeprefix(f"cannot connect to {endpoint}: ")
    if isinstance(error, TLSRefusedError):
        why, _, remedy = text.partition(": ")
        return Finding("login", str(endpoint), Status.FAILURE, why, remedy)
    user, vhost = endpoint.username, endpoint.virtualhost
    quoted_user, quoted_vhost = shlex.quote(user), shlex.quote(vhost)
    what, advice = "cannot log in", "look into the log of the broker"
    check = "login"
    if "limit" in text and ("connection" in text or "user" in text):
        what, advice = "too many connections", "close some, or raise the limit: rabbitmqctl list_connections"
    elif "vhost" in text and "not found" in text:
        check, what = "virtual host", f"the virtual host {vhost!r} does not exist"
        advice = f"check its name in the configuration, or add it: rabbitmqctl add_vhost {quoted_vhost}"
    elif "vhost" in text and "refused" in text:
        check, what = "virtual host", f"the user {user!r} may not use the virtual host {vhost!r}"
        advice = f"rabbitmqctl set_permissions -p {quoted_vhost} {quoted_user} CONFIGURE WRITE READ"
    elif "vhost" in text and "down" in text:
        check, what = "virtual host", f"the virtual host {vhost!r} is down"
        advice = f"rabbitmqctl restart_vhost -p {quoted_vhost}"
    elif "Login was refused" in text or "username or password" in text or "ACCESS_REFUSED" in text:
        check, what = "credentials", f"the broker refuses the user {user!r} or the password"
        advice = f"check both; rabbitmqctl authenticate_user {quoted_user} asks for the password and tries it"
        if user == "guest" and not _LOOPBACK.fullmatch(endpoint.host):
            advice = "the user guest may log in only on the broker's own machine: add another user"
    elif "PLAIN" not in mechanisms.split():
        what, advice = (
            f"the broker offers no PLAIN log-in, only {mechanisms or 'nothing'}",
            "enable PLAIN on the broker",
        )
    return Finding(check, str(endpoint), Status.FAILURE, f"{what} ({text})", advice)
