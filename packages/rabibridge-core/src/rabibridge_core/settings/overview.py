"""What the settings are and where each one comes from, for people: secrets are hidden, and faults do not end it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from rabibridge_core.settings.fields import rules_of
from rabibridge_core.settings.loading import collect
from rabibridge_core.settings.origins import Origin, Rank
from rabibridge_core.settings.settings import Settings
from rabibridge_core.settings.transports import CONNECTION_FIELDS, installed_transports

if TYPE_CHECKING:
    from pathlib import Path

    from rabibridge_core.settings.fields import CheckedSettings
    from rabibridge_core.settings.loading import Collected
    from rabibridge_core.settings.origins import SourcedValue

__all__ = ["HIDDEN", "Overview", "ShownSetting", "overview"]

HIDDEN = "**********"
"""What is shown in place of a secret."""
_DEFAULT = Origin(Rank.DEFAULT)


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """One setting as it may be shown to everybody.

    Attributes:
        name: name of the setting.
        value: a text, number, boolean, list of texts, or ``None``; for a secret, asterisks.
        origin: where it comes from.
    """

    name: str
    value: Any
    origin: Origin


@dataclass(frozen=True, slots=True)
class Overview:
    """The configuration of this process.

    Attributes:
        file: the configuration file; ``None``: none is read.
        note: a sentence that names it, or says why there is none.
        profile: the profile that is selected.
        endpoints: the brokers as URLs without passwords; empty if they cannot be told.
        settings: every setting whose value can be told.
        faults: what is wrong; with any of these, no client or server can be made.
        warnings: what is ignored.
    """

    file: Path | None
    note: str
    profile: SourcedValue | None
    endpoints: list[str]
    settings: list[ShownSetting]
    faults: list[str]
    warnings: list[str]


def overview(*, transport_name: str | None = None) -> Overview:
    """Return what a client or server that is made now, without arguments, would use.

    Args:
        transport_name: the transport that connection settings other than URLs are for, as for ``load_settings``.

    Raises:
        ConfigurationError: the configuration file cannot be read, or has not the profile that is selected.
    """
    found = collect({}, transport_name=transport_name)
    settings = [*_connection(found, transport_name), *_of(Settings, found), *_of(found.own, found)]
    file = found.sources.file
    return Overview(
        file.path,
        file.note,
        found.sources.profile,
        [str(endpoint) for endpoint in found.connection.endpoints],
        settings,
        found.faults.texts,
        found.warnings,
    )


def _connection(found: Collected, transport_name: str | None) -> list[ShownSetting]:
    if found.connection.transport is None and not found.connection.problem:
        return []  # a fault tells what is wrong with it
    given = found.connection.given
    transport = found.connection.transport or installed_transports().for_fields(transport_name)
    if "url" in given:
        shown = [str(endpoint) for endpoint in found.connection.endpoints]
        rows = [ShownSetting("url", shown[0] if len(shown) == 1 else shown or HIDDEN, given["url"].origin)]
        return rows + [_field(name, value) for name, value in given.items() if name != "url"]
    if transport is None or not transport.variable_prefix:
        return []
    defaults = {"virtualhost": transport.default_virtualhost, "ssl": False}
    return [
        _field(name, given[name]) if name in given else ShownSetting(name, defaults.get(name), _DEFAULT)
        for name in CONNECTION_FIELDS
    ]


def _field(name: str, found: SourcedValue) -> ShownSetting:
    return ShownSetting(name, HIDDEN if name == "password" else _plain(found.value), found.origin)


def _of(settings: type[CheckedSettings], found: Collected) -> list[ShownSetting]:
    defaults: dict[str, Any] = {item.name: item.default for item in fields(settings)}  # type: ignore[arg-type]
    rows = []
    for name, rule in rules_of(settings).items():
        if name in found.given and name not in found.values:
            continue  # a fault tells what is wrong with it
        value = found.values.get(name, defaults[name])
        if value is None and rule.shown_default:
            value = rule.shown_default
        shown = HIDDEN if rule.secret and value is not None else _plain(value)
        rows.append(ShownSetting(name, shown, found.given[name].origin if name in found.given else _DEFAULT))
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)
