"""The commands by name, and the options that stand before them.

The address and password of the broker come from the environment or the configuration file, never from an argument,
which every user of the machine could read in the process list.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - Typer evaluates the annotations
from typing import Annotated, Literal

import typer

from rabibridge.cli.connection_options import use_options
from rabibridge.cli.lazy import LazyGroup, commands_of

__all__ = ["app"]

COMMANDS = commands_of(
    run="Serve functions until SIGTERM or SIGINT.",
    call="Call a function and print its result as JSON.",
    notify="Let a function run without waiting for its result.",
    new="Make a small project: services, client, gateway and tests.",
    bench="Measure how fast a function answers, by real calls.",
    ping="Measure how long the broker, or a worker, takes to answer.",
    services="Show what is served, by how many workers, and how it fares.",
    workers="Show the workers: process, load, event loop and memory.",
    top="Watch the services live, and look at the last errors of one.",
    health="Tell whether workers receive calls: for probes and scripts.",
    schema="Describe the services for others, or compare two descriptions.",
    stubs="Write a typed module for callers who have not the code of the services.",
    config="Show the configuration, or check a file.",
    secret="Encrypt a password or a key for the configuration, or decrypt one.",  # noqa: S106 - a summary
    doctor="Find out what is wrong between here and the broker.",
    permissions="Print the fewest permissions that a user of the broker needs, as commands.",
    dead="List dead letters, show one, move them back to their services, or delete them.",
    queue="List the queues of services, empty them, or delete them.",
    dashboard="Show services, workers, errors and dead letters in a browser.",
    version="Print the version.",
)
"""Every command with its summary: the first line of its help. Its module in ``commands`` has the same name."""

_EXAMPLES = """\b
Examples:
  rabibridge run services.py            serve the functions of a file
  rabibridge call add 1 2               call one of them
  rabibridge COMMAND -h                 the options of a command

RABIBRIDGE_URL or the configuration file defines the connection.
"""


class _Commands(LazyGroup):
    table = COMMANDS


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich takes three times as long to import as everything else that --help needs
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXAMPLES,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("rabibridge-rabbitmq"))
        raise typer.Exit


@app.callback()
def before(
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The configuration file; `none` reads none. Default: RABIBRIDGE_CONFIG."),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The profile of the configuration file. Default: RABIBRIDGE_PROFILE."),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The namespace on the broker; `none`: none. Default: RABIBRIDGE_NAMESPACE."),
    ] = None,
    tls_ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="The authorities that the broker may be of."),
    ] = None,
    tls_cert_file: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="The client certificate.")
    ] = None,
    tls_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="The key of that certificate.")
    ] = None,
    tls_key_password_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="The password of that key, in a file."),
    ] = None,
    tls_server_name: Annotated[
        str | None, typer.Option(metavar="HOST", help="The name that the certificate of the broker must be for.")
    ] = None,
    auth_mechanism: Annotated[
        Literal["plain", "external"] | None,
        typer.Option(help="On RabbitMQ: log in by user name and password, or by the client certificate."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Serve and call functions over RabbitMQ, Redis or Valkey."""
    use_options(
        {
            "CONFIG": config,
            "PROFILE": profile,
            "NAMESPACE": namespace,
            "TLS_CA_FILE": tls_ca_file,
            "TLS_CERT_FILE": tls_cert_file,
            "TLS_KEY_FILE": tls_key_file,
            "TLS_KEY_PASSWORD_FILE": tls_key_password_file,
            "TLS_SERVER_NAME": tls_server_name,
            "AUTH_MECHANISM": auth_mechanism,
        }
    )
