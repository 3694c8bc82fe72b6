"""``rabibridge queue``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rabibridge.cli.confirmation import confirm
from rabibridge.cli.exit_codes import ExitCode
from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_json, print_line, print_table, print_warning
from rabibridge.cli.runtime import run
from rabibridge_core.operations.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from rabibridge_core.operations import QueueBox, QueueState

__all__ = ["app"]

app = command_app(help="List the queues of services, empty them, or delete them.")

_Names = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", help="Names of services, or of queues (rpc_async_...).")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list")
def list_queues(
    names: _Names = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="Also the services of a module, a file or a plug-in folder; may be repeated."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """List queues of services: how many calls wait, and how many workers serve them.

    Without a name or a target, those of all services that running workers serve: a broker does not list its queues.
    """

    async def look() -> list[QueueState]:
        from rabibridge.cli.operations import queues_of

        wanted = [*(names or ()), *(queue.name for queue in queues_of(target or ()))]
        if not wanted:
            wanted = await _served()
        async with _connected() as queues:
            return await queues.find(wanted)

    found = run(look(), json_errors=as_json)
    if as_json:
        print_json([_as_json(state) for state in found])
        return
    if found:
        print_table(("queue", "waiting", "consumers"), found)
    else:
        print_warning("no queue found")


@app.command("purge")
def purge_queues(names: _Names = None, yes: _Yes = False, as_json: _Json = False) -> None:
    """Delete the calls that wait in queues. Their callers see them end at their deadlines."""
    states = _existing(names)
    waiting = sum(state.waiting for state in states)
    confirm(f"{_those(states)}: {counted(waiting, 'call')} to delete. Go on?", yes=yes)

    async def empty() -> list[dict[str, Any]]:
        async with _connected() as queues:
            return [{"queue": state.name, "purged": await queues.purge(state.name)} for state in states]

    done = run(empty(), json_errors=as_json)
    if as_json:
        print_json(done)
    else:
        for one in done:
            print_line(f"{one['queue']}: {counted(one['purged'], 'call')} deleted")


@app.command("delete")
def delete_queues(
    names: _Names = None,
    in_use: Annotated[
        bool, typer.Option("--in-use", help="Also queues that workers serve, who declare them again.")
    ] = False,
    yes: _Yes = False,
    as_json: _Json = False,
) -> None:
    """Delete queues that no worker serves, with the calls that wait in them."""
    states = _existing(names)
    waiting = sum(state.waiting for state in states)
    confirm(f"{_those(states)}: to delete, with {counted(waiting, 'call')} that wait. Go on?", yes=yes)

    async def delete() -> list[dict[str, Any]]:
        async with _connected() as queues:
            return [
                {"queue": state.name, "lost": await queues.delete(state.name, if_unused=not in_use)} for state in states
            ]

    done = run(delete(), json_errors=as_json)
    if as_json:
        print_json(done)
    else:
        for one in done:
            print_line(f"{one['queue']}: deleted, with {counted(one['lost'], 'call')}")


def _existing(names: Sequence[str] | None) -> list[QueueState]:
    """Return the queues of these names; the command ends if there is none."""
    if not names:
        raise typer.BadParameter("name at least one service or queue", param_hint="NAME")
    wanted = list(names)

    async def look() -> list[QueueState]:
        async with _connected() as queues:
            return await queues.find(wanted)

    states = run(look())
    if not states:
        print_warning(f"error: there is no queue of {', '.join(map(repr, names))}")
        raise typer.Exit(ExitCode.NO_ROUTE)
    return states


async def _served() -> list[str]:
    """Return the queues of the services of all workers that answer."""
    from rabibridge.mq import RMQClient

    async with RMQClient() as client:
        services = await client.services()
    return [queue.name for service in services for queue in service.queues]


def _connected() -> AbstractAsyncContextManager[QueueBox]:
    from rabibridge._operations.chosen import operator_of
    from rabibridge.cli.operations import broker_settings

    return operator_of(broker_settings()).queues()


def _those(states: Sequence[QueueState]) -> str:
    return ", ".join(state.name for state in states)


def _as_json(state: QueueState) -> dict[str, Any]:
    return {"queue": state.name, "waiting": state.waiting, "consumers": state.consumers}
