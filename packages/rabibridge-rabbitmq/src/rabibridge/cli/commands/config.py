"""``rabibridge config show`` and ``rabibridge config check``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rabibridge.cli.exit_codes import ExitCode
from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_json, print_line, print_table, print_warning
from rabibridge.cli.runtime import report_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge_core.settings.origins import Origin
    from rabibridge_core.settings.overview import Overview, ShownSetting

__all__ = ["app"]

app = command_app(help="Show the configuration, or check a file.")

_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command(
    epilog="""\b
Examples:
  rabibridge config show                         what applies in this folder
  rabibridge --profile staging config show       with a profile of the file
  rabibridge config show --set                   without what has its default
  rabibridge config show --json | jq .settings.max_body
"""
)
def show(
    only_set: Annotated[bool, typer.Option("--set", help="Leave out settings that have their default.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Print every setting and where it comes from.

    Secrets are hidden. The exit status is 3 if the configuration has a fault. It is printed after what can be shown.
    """
    with report_errors(as_json=as_json):
        found, faults = _overview()
        shown = [one for one in found.settings if not only_set or one.origin.rank.name != "DEFAULT"]
        if as_json:
            print_json(_json(found, shown, faults))
        else:
            _print(found, shown)
            _print_findings(faults, found.warnings)
    if faults:
        raise typer.Exit(ExitCode.CONFIGURATION)


@app.command(
    epilog="""\b
Examples:
  rabibridge config check rabibridge.toml        a file and all of its profiles
  rabibridge config check                        what applies in this folder, with the environment
"""
)
def check(
    file: Annotated[
        str | None,
        typer.Argument(help="The file. Without it: the configuration that applies here, with the environment."),
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """Print everything that is wrong with a file.

    The exit status is 0 if nothing is wrong, and 3 otherwise. A file is checked with all of its profiles; what it does
    not set may come from the environment, and is no fault.
    """
    with report_errors(as_json=as_json):
        profiles: list[str] = []
        if file is None:
            found, faults = _overview()
            path, warnings = found.file, found.warnings
        else:
            from pathlib import Path

            from rabibridge_core.settings.file_check import check_file

            checked = check_file(Path(file).absolute())
            path, profiles, faults, warnings = checked.path, checked.profiles, checked.faults, checked.warnings
        if as_json:
            print_json({"file": path and str(path), "profiles": profiles, "faults": faults, "warnings": warnings})
        else:
            _print_findings(faults, warnings)
            if not faults:
                what = str(path) if file or path else "the configuration"
                print_line(f"{what}: no faults" + (f"; profiles: {', '.join(profiles)}" if profiles else ""))
    if faults:
        raise typer.Exit(ExitCode.CONFIGURATION)


def _overview() -> tuple[Overview, list[str]]:
    """Return the configuration, and its faults with those that only show when a client is made of it."""
    from rabibridge.mq import RMQBase
    from rabibridge.settings import RABBITMQ
    from rabibridge_core.errors import ConfigurationError
    from rabibridge_core.settings.overview import overview

    found = overview(transport_name=RABBITMQ.name)
    faults = list(found.faults)
    if not faults:
        try:
            RMQBase()
        except ConfigurationError as error:
            faults.append(str(error))
    return found, faults


def _print(found: Overview, shown: Sequence[ShownSetting]) -> None:
    print_line(f"file:    {found.file}" if found.file else found.note)
    if found.profile:
        print_line(f"profile: {found.profile.value} (from {found.profile.source})")
    for number, endpoint in enumerate(found.endpoints):
        print_line(f"{'' if number else 'broker:':9}{endpoint}")
    if shown:
        print_table(["setting", "value", "from"], [(one.name, _value(one), _place(one.origin)) for one in shown])


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return {None: "none", True: "true", False: "false"}.get(value, str(value)) if not _is_number(value) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _place(origin: Origin) -> str:
    """Return the place in few words: the file is named above the table."""
    if origin.table:
        place = f"[{origin.table}], line {origin.line}" if origin.line else f"[{origin.table}]"
    else:
        place = {"variable": origin.name, "default": "default"}.get(origin.rank.name.lower(), str(origin))
    if origin.secret_file:
        return f"{origin.secret_file} ({place})"
    return f"{place}, parameter {origin.parameter}" if origin.parameter else place


def _value(setting: ShownSetting) -> str:
    """Return the value in few words: several URLs stand above the table, as brokers."""
    several = setting.name == "url" and isinstance(setting.value, list)
    return f"{len(setting.value)} brokers" if several else _text(setting.value)


def _print_findings(faults: Sequence[str], warnings: Sequence[str]) -> None:
    for text in warnings:
        print_warning(f"warning: {text}")
    for text in faults:
        print_warning(f"error: {text}")


def _json(found: Overview, shown: Sequence[ShownSetting], faults: list[str]) -> dict[str, Any]:
    return {
        "file": found.file and str(found.file),
        "profile": found.profile and found.profile.value,
        "brokers": found.endpoints,
        "settings": {one.name: {"value": one.value, "from": _origin(one.origin)} for one in shown},
        "faults": faults,
        "warnings": found.warnings,
    }


def _origin(origin: Origin) -> dict[str, Any]:
    place: dict[str, Any] = {"place": origin.rank.name.lower()}
    for name in ("name", "table", "line", "parameter", "secret_file"):
        if value := getattr(origin, name):
            place[name] = value
    return place | ({"file": str(origin.file)} if origin.file else {})
