"""``rabibridge dead``."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rabibridge.cli.confirmation import confirm
from rabibridge.cli.durations import age, seconds
from rabibridge.cli.exit_codes import ExitCode
from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_json, print_line, print_table, print_warning
from rabibridge.cli.runtime import run
from rabibridge_core._reporting.error_text import printable
from rabibridge_core.operations.wording import counted

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from rabibridge_core.operations import DeadLetterBox
    from rabibridge_core.operations.letters import DeadLetter, LetterFilter

__all__ = ["app"]

app = command_app(help="List dead letters, show one, move them back to their services, or delete them.")

_REASON_WIDTH = 200
_Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Those with these identifiers, as `dead list` shows them.")
]
_Service = Annotated[str | None, typer.Option(help="Those of one service, or of one queue.")]
_Reason = Annotated[str | None, typer.Option(help="Those whose reason contains this text.")]
_OlderThan = Annotated[
    str | None, typer.Option(metavar="TIME", help="Those that died at least so long ago: 90s, 15m, 2h, 7d.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Beside = Annotated[
    bool,
    typer.Option(
        "--beside-consumers", help="Also while others consume the dead letters, who may get them in another order."
    ),
]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list")
def list_letters(
    service: _Service = None,
    reason: _Reason = None,
    older_than: _OlderThan = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to look at, from the oldest on.")] = 1000,
    beside_consumers: _Beside = False,
    as_json: _Json = False,
) -> None:
    """List dead letters, the oldest first: what died, when, how often and why."""
    which = _filter(None, service, reason, older_than)

    async def look() -> Any:
        async with _connected(beside_consumers) as letters:
            return await letters.list(which, limit=limit)

    found = run(look(), json_errors=as_json)
    if as_json:
        letters = [_as_json(letter) for letter in found.letters]
        print_json({"letters": letters, "looked_at": found.looked_at, "waiting": found.waiting})
        return
    if found.letters:
        now = time.time()
        rows = [
            (
                letter.id,
                letter.service or "(foreign)",
                "-" if letter.at is None else age(now - letter.at),
                letter.deaths,
                _shortened(letter.reason or "no reason is given")
                + ("; its time is up" if letter.is_expired(now) else ""),
            )
            for letter in found.letters
        ]
        print_table(("id", "service", "ago", "deaths", "why"), rows)
    print_line(f"{len(found.letters)} of {counted(found.waiting, 'dead letter')}")
    if found.looked_at < found.waiting:
        print_warning(f"only the oldest {found.looked_at} were looked at; --limit looks at more")


@app.command("show")
def show_letter(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Its identifier, as `dead list` shows it.")],
    beside_consumers: _Beside = False,
    as_json: _Json = False,
) -> None:
    """Show one dead letter with its arguments, without what looks like a secret."""

    async def look() -> Any:
        async with _connected(beside_consumers) as letters:
            return await letters.show(identifier)

    found = run(look(), json_errors=as_json)
    if found is None:
        print_warning(f"error: there is no dead letter {identifier!r} (any more): see `rabibridge dead list`")
        raise typer.Exit(ExitCode.NO_ROUTE)
    shown = _as_json(found.letter) | {
        "headers": _plain(found.letter.headers),
        "args": _plain(found.args),
        "kwargs": _plain(found.kwargs),
        "not_decoded": found.problem or None,
    }
    if as_json:
        print_json(shown)
        return
    from rabibridge.cli.output import json_text

    for name, value in shown.items():
        print_line(f"{name:17} {printable(value) if isinstance(value, str) else json_text(value)}")


@app.command("requeue")
def requeue_letters(
    identifiers: _Ids = None,
    service: _Service = None,
    reason: _Reason = None,
    older_than: _OlderThan = None,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The time that each is given from now on; else those whose time is up stay."),
    ] = None,
    vouch: Annotated[
        bool,
        typer.Option("--vouch", help="They become calls of your user, for services that allow only some users."),
    ] = False,
    yes: _Yes = False,
    beside_consumers: _Beside = False,
    as_json: _Json = False,
) -> None:
    """Move dead letters back to the queues of their services, in their order. Their functions run."""
    which = _filter(identifiers, service, reason, older_than)
    limit = None if timeout is None else seconds(timeout)
    if limit is not None and limit <= 0:
        raise typer.BadParameter("the time must be more than 0", param_hint="--timeout")
    if not identifiers and not yes:
        count = run(_count(which, beside_consumers, foreign=False))
        confirm(
            f"{counted(count, 'dead letter')} to move back to their services, whose functions run. Go on?",
            yes=not count,
        )

    async def move() -> Any:
        async with _connected(beside_consumers) as letters:
            return await letters.requeue(which, timeout=limit, vouch=vouch)

    report = run(move(), json_errors=as_json)
    if as_json:
        refused = [{"letter": _as_json(letter), "reason": why} for letter, why in report.refused]
        print_json({"requeued": [_as_json(letter) for letter in report.requeued], "refused": refused})
    else:
        print_line(f"{counted(len(report.requeued), 'dead letter')} requeued, {len(report.refused)} left")
        for letter, why in report.refused:
            print_warning(printable(f"{letter.id} stays: {why}"))
    found = {letter.id for letter in report.requeued} | {letter.id for letter, _ in report.refused}
    if report.refused:
        raise typer.Exit(ExitCode.FAILED)
    _refuse_unknown(set(identifiers or ()) - found)


@app.command("purge")
def purge_letters(
    identifiers: _Ids = None,
    service: _Service = None,
    reason: _Reason = None,
    older_than: _OlderThan = None,
    foreign: Annotated[bool, typer.Option(help="Also what did not come from queues of services.")] = False,
    yes: _Yes = False,
    beside_consumers: _Beside = False,
    as_json: _Json = False,
) -> None:
    """Delete dead letters."""
    which = _filter(identifiers, service, reason, older_than)
    if not yes:
        count = run(_count(which, beside_consumers, foreign=foreign))
        confirm(f"{counted(count, 'dead letter')} to delete. Go on?", yes=not count)

    async def delete() -> int:
        async with _connected(beside_consumers) as letters:
            return await letters.purge(which, foreign=foreign)

    deleted = run(delete(), json_errors=as_json)
    if as_json:
        print_json({"purged": deleted})
    else:
        print_line(f"{counted(deleted, 'dead letter')} deleted")
    if identifiers and not deleted:
        _refuse_unknown(set(identifiers))


def _filter(ids: list[str] | None, service: str | None, reason: str | None, older_than: str | None) -> LetterFilter:
    from rabibridge_core.operations.letters import LetterFilter

    least_age = None if older_than is None else seconds(older_than)
    return LetterFilter(ids=frozenset(ids or ()), service=service, reason=reason, older_than=least_age)


def _refuse_unknown(identifiers: set[str]) -> None:
    """End the command if letters that were named are not there."""
    if identifiers:
        named = ", ".join(sorted(identifiers))
        print_warning(f"error: no such dead letter to move or delete: {named}; see `rabibridge dead list`")
        raise typer.Exit(ExitCode.NO_ROUTE)


def _connected(beside_consumers: bool) -> AbstractAsyncContextManager[DeadLetterBox]:
    from rabibridge._operations.chosen import operator_of
    from rabibridge.cli.operations import broker_settings

    return operator_of(broker_settings()).dead_letters(beside_consumers=beside_consumers)


async def _count(which: LetterFilter, beside_consumers: bool, *, foreign: bool) -> int:
    async with _connected(beside_consumers) as letters:
        found = await letters.list(which, limit=2**31)
    return sum(foreign or not letter.foreign for letter in found.letters)


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "service": letter.service or None,
        "queue": letter.queue or None,
        "reason": letter.reason,
        "at": _time(letter.at),
        "by": letter.by or None,
        "deaths": letter.deaths,
        "deadline": _time(letter.deadline),
        "expired": letter.is_expired(),
        "foreign": letter.foreign,
        "size": letter.size,
        "content_type": letter.content_type,
        "content_encoding": letter.content_encoding,
        "correlation_id": letter.correlation_id or None,
        "reply_to": letter.reply_to or None,
    }


def _time(value: float | None) -> str | None:
    if value is None:
        return None
    try:
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):  # a forged one
        return None


def _shortened(text: str) -> str:
    return text if len(text) <= _REASON_WIDTH else text[:_REASON_WIDTH] + "..."


def _plain(value: object) -> Any:
    """Return a value as JSON has it; what JSON has not becomes its text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, datetime) else repr(value)
