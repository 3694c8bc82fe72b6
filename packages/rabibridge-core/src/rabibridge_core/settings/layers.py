"""The layers of a configuration file: its tables, and above them those of the profile that is selected.

A profile has the tables of the file under its own name, ``[profile.staging.rabbitmq]``, or, shorter, their keys
directly under ``[profile.staging]``: the name of a key says which table it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings.nearest import suggestion
from rabibridge_core.settings.origins import Origin, Rank

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rabibridge_core.settings.configuration_file import ConfigurationFile
    from rabibridge_core.settings.origins import SourcedValue

__all__ = ["PROFILE_TABLE", "Entry", "Layer", "layers_of", "profiles_of"]

PROFILE_TABLE = "profile"


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of the file and the place that it is written in."""

    value: Any = field(repr=False)
    origin: Origin


@dataclass(frozen=True, slots=True)
class Layer:
    """The tables of a file, or those of one profile.

    Attributes:
        prefix: what stands in front of the names of the tables: nothing, or ``("profile", "staging")``.
        tables: the entries by table and key.
        loose: keys that stand under no table and belong to none.
    """

    prefix: tuple[str, ...]
    tables: Mapping[str, Mapping[str, Entry]]
    loose: Mapping[str, Entry] = field(default_factory=dict)


def profiles_of(file: ConfigurationFile) -> list[str]:
    """Return the names of the profiles that a file has.

    Raises:
        ConfigurationError: what stands under ``[profile]`` is not a table.
    """
    found = file.content.get(PROFILE_TABLE, {})
    wrong = [name for name, table in found.items() if not isinstance(table, dict)]
    if wrong:
        origin = Origin(Rank.PROFILE, wrong[0], file.path, PROFILE_TABLE, file.line_of((PROFILE_TABLE, wrong[0])))
        raise ConfigurationError(
            f"{origin} is not the name of a profile with settings; a profile is a table: [{PROFILE_TABLE}.staging]"
        )
    return list(found)


def layers_of(file: ConfigurationFile, profile: SourcedValue | None, known: Mapping[str, set[str]]) -> list[Layer]:
    """Return the layers that apply, the one that takes precedence first.

    Args:
        file: the file.
        profile: the profile that is selected, if any.
        known: the keys that each table may have.

    Raises:
        ConfigurationError: the file has no such profile, or the profile gives one key twice.
    """
    base = {name: table for name, table in file.content.items() if name != PROFILE_TABLE}
    layers = [Layer((), {name: _entries(file, (name,), table, Rank.FILE) for name, table in base.items()})]
    if profile is None and file.is_shared:
        return layers  # a table [profile] may belong to another program
    profiles = profiles_of(file)
    if profile is None:
        return layers
    if profile.value not in profiles:
        raise ConfigurationError(_no_profile(file, profile, profiles))
    return [_profile_layer(file, profile.value, known), *layers]


def _profile_layer(file: ConfigurationFile, name: str, known: Mapping[str, set[str]]) -> Layer:
    prefix = (PROFILE_TABLE, name)
    content = file.content[PROFILE_TABLE][name]
    tables = {
        table: _entries(file, (*prefix, table), keys, Rank.PROFILE)
        for table, keys in content.items()
        if isinstance(keys, dict)
    }
    loose = {}
    direct = {key: value for key, value in content.items() if not isinstance(value, dict)}
    for key, entry in _entries(file, prefix, direct, Rank.PROFILE).items():
        table = next((table for table, keys in known.items() if key in keys), None)
        if table is None:
            loose[key] = entry
        elif twin := tables.setdefault(table, {}).get(key):
            raise ConfigurationError(f"the profile {name!r} has two values: {entry.origin}, and {twin.origin}")
        else:
            tables[table][key] = entry
    return Layer(prefix, tables, loose)


def _entries(file: ConfigurationFile, path: tuple[str, ...], table: Mapping[str, Any], rank: Rank) -> dict[str, Entry]:
    return {
        key: Entry(value, Origin(rank, key, file.path, ".".join(path), file.line_of((*path, key))))
        for key, value in table.items()
    }


def _no_profile(file: ConfigurationFile, profile: SourcedValue, profiles: Sequence[str]) -> str:
    text = f"there is no profile {profile.value!r} (from {profile.source})"
    if file.path is None:
        return f"{text}. {file.note}"
    if not profiles:
        return f"{text}: {file.path} has no profiles; a profile is a table: [{PROFILE_TABLE}.{profile.value}]"
    return f"{text} in {file.path}: {suggestion(str(profile.value), profiles, 'its profiles are')}"
