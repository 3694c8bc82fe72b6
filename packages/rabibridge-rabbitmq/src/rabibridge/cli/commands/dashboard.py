"""``rabibridge dashboard``."""

from __future__ import annotations

import os
import secrets
import socket
from typing import Annotated

import typer

from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_line
from rabibridge.cli.runtime import check_log_level, log_to_stderr, run
from rabibridge_core.errors import ConfigurationError

__all__ = ["app"]

app = command_app()

_TOKEN_VARIABLE = "RABIBRIDGE_DASHBOARD_TOKEN"  # noqa: S105 - the name of a variable
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - recognized, not bound

_EXAMPLES = f"""\b
Examples:
  rabibridge dashboard                              for this machine alone
  rabibridge dashboard --host 0.0.0.0 --allow-host ops.example.com
  rabibridge dashboard --allow-actions              lets it requeue dead letters

Beyond this machine it wants a token: that of {_TOKEN_VARIABLE}, or one that it makes and prints.
"""


@app.command(epilog=_EXAMPLES)
def dashboard(
    port: Annotated[int, typer.Option(help="The port to listen on; 0: any that is free.", min=0, max=65535)] = 8080,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A further host name under which browsers may reach it; may be repeated."),
    ] = None,
    allow_actions: Annotated[bool, typer.Option(help="Let visitors requeue dead letters.")] = False,
    interval: Annotated[float, typer.Option(metavar="SECONDS", help="Time between two looks.", min=0.1)] = 1.0,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING, ERROR or CRITICAL.")] = "WARNING",
) -> None:
    """Show services, workers, errors and dead letters in a browser."""
    check_log_level(log_level)
    log_to_stderr(log_level)
    token = os.environ.get(_TOKEN_VARIABLE) or (
        None if host in _LOOPBACK and not allow_host else secrets.token_urlsafe(24)
    )
    names = [*_LOOPBACK, *(allow_host or [])]
    if host in _EVERYWHERE:
        names += [socket.gethostname(), socket.getfqdn()]
    elif host not in _LOOPBACK:
        names.append(host)

    def started(taken: int) -> None:
        shown = "localhost" if host in (*_LOOPBACK, *_EVERYWHERE) else f"[{host}]" if ":" in host else host
        ask = f"?token={token}" if token and _TOKEN_VARIABLE not in os.environ else ""
        print_line(f"The dashboard is at http://{shown}:{taken}/{ask}  (Ctrl-C stops it)")

    async def serve_it() -> None:
        try:
            from rabibridge._dashboard.server import serve
            from rabibridge.dashboard import Dashboard
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"the dashboard needs {error.name}: pip install 'rabibridge-rabbitmq[dashboard]'"
            ) from error
        shown = Dashboard(token=token, hosts=names, allow_actions=allow_actions, interval=interval)
        await serve(shown, shown.end_streams, host, port, started)

    run(serve_it())
