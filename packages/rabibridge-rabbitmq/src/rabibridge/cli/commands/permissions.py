"""``rabibridge permissions``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_json, print_line
from rabibridge.cli.runtime import report_errors

__all__ = ["app"]

app = command_app()

_EXAMPLES = """\b
Examples:
  rabibridge permissions caller --user gateway
  rabibridge permissions caller --namespace billing --service add --service price
  rabibridge permissions server --namespace billing --service add | sh

Nothing is changed, and no broker is asked.
"""


@app.command(epilog=_EXAMPLES)
def permissions(
    role: Annotated[
        Literal["caller", "server", "operator"],
        typer.Argument(metavar="ROLE", help="caller, server, or operator (doctor, dead, queue)."),
    ],
    service: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this service; may be repeated. Of a caller it needs a namespace."),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="The namespace; `none`: none. Default: RABIBRIDGE_NAMESPACE.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="The user of the broker. Default: the name of the role.")
    ] = None,
    vhost: Annotated[
        str | None, typer.Option(metavar="NAME", help="The virtual host. Default: that of the configuration, or /.")
    ] = None,
    direct_reply: Annotated[
        bool | None,
        typer.Option(
            "--direct-reply/--own-queue",
            help="How a caller receives replies. Default: RABIBRIDGE_DIRECT_REPLY.",
            show_default=False,
        ),
    ] = None,
    introspection: Annotated[
        bool, typer.Option("--introspection", help="Let a caller of some services ask all workers about themselves.")
    ] = False,
    queue_states: Annotated[
        bool,
        typer.Option("--queue-states", help="Let a caller see the states of queues, on RabbitMQ 4.3 or later."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; of RabbitMQ, in the form of its definitions.")
    ] = False,
) -> None:
    """Print the fewest permissions that a user of the broker needs, as commands."""
    with report_errors(as_json=as_json):
        from rabibridge._operations.chosen import operator_of
        from rabibridge._operations.operator import RabbitMQOperator
        from rabibridge.settings import RABBITMQ
        from rabibridge_core.operations import PermissionRequest
        from rabibridge_core.settings import load_settings

        settings = load_settings(transport_name=RABBITMQ.name, require_broker=False, options={"namespace": namespace})
        operator = operator_of(settings)
        request = PermissionRequest(role, service or (), user or role)
        if isinstance(operator, RabbitMQOperator):
            commands, described = operator.permissions(
                request,
                vhost=vhost,
                direct_reply=direct_reply,
                introspection=introspection,
                queue_states=queue_states,
            )
        else:
            _refuse_options(vhost, direct_reply, introspection, queue_states)
            commands, described = operator.permissions(request)
    if as_json:
        print_json(described)
        return
    for line in commands:
        print_line(line)


def _refuse_options(vhost: str | None, direct_reply: bool | None, introspection: bool, queue_states: bool) -> None:
    given = {
        "--vhost": vhost is not None,
        "--direct-reply": direct_reply is not None,
        "--introspection": introspection,
        "--queue-states": queue_states,
    }
    if names := [name for name, is_given in given.items() if is_given]:
        raise typer.BadParameter("only RabbitMQ has this: leave it out", param_hint=", ".join(names))
