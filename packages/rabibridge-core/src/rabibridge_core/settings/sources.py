"""The places that settings come from: arguments, environment variables and the configuration file."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["SourcedValue", "Sources"]

_log = logging.getLogger(__name__)

_FILES = ("rabibridge.toml", "config/env.toml")


@dataclass(frozen=True, slots=True)
class SourcedValue:
    """A value and where it was found.

    Attributes:
        value: the value as it was given.
        source: the place, in words for error messages.
        rank: precedence of the place: 0 for an argument, 1 for a variable, 2 for the file. The lowest wins.
    """

    value: Any = field(repr=False)
    source: str
    rank: int


class Sources:
    """The arguments of one call, the environment, and the configuration file if there is one.

    A variable or a key with an empty text counts as not set: templates and compose files leave such.
    """

    def __init__(self, arguments: Mapping[str, object], tables: Sequence[str]) -> None:
        """Take the arguments that are not ``None`` and read the file.

        Args:
            arguments: arguments by name.
            tables: the tables that the file may have, for error messages.

        Raises:
            ConfigurationError: an argument is an empty text, or the file is named but missing, unreadable, or not TOML.
        """
        self.arguments = {name: value for name, value in arguments.items() if value is not None}
        for name, value in self.arguments.items():
            if isinstance(value, str) and not value.strip():
                raise ConfigurationError(
                    f"the argument {name}= is empty; leave it out to take the setting from elsewhere"
                )
        self._path = _find_file()
        self._tables = _read_toml(self._path, tables) if self._path else {}

    @property
    def file_note(self) -> str:
        """A sentence that names the file that was read, or the files that were looked for."""
        if self._path:
            return f"The configuration file that was read is {self._path}."
        places = " and ".join(f"./{name}" for name in _FILES)
        return f"No configuration file was found: RABIBRIDGE_CONFIG is not set; looked for {places} in {Path.cwd()}."

    def argument(self, name: str) -> SourcedValue | None:
        """Return the argument ``name`` if it was given."""
        if name not in self.arguments:
            return None
        return SourcedValue(self.arguments[name], f"the argument {name}=", 0)

    def variable(self, name: str) -> SourcedValue | None:
        """Return the environment variable ``name`` if it is set and not empty."""
        value = os.environ.get(name, "")
        return SourcedValue(value, f"the environment variable {name}", 1) if value.strip() else None

    def key(self, table: str, name: str) -> SourcedValue | None:
        """Return the key ``name`` of the file's ``table`` if it is there and not empty."""
        value = self._tables.get(table, {}).get(name, "")
        return SourcedValue(value, f"{name} under [{table}] in {self._path}", 2) if value != "" else None

    def find(self, variables: Sequence[str], table: str, keys: Sequence[str]) -> SourcedValue | None:
        """Return the first that is set: the variables in their order, then the keys of the table in their order."""
        places = [*map(self.variable, variables), *(self.key(table, key) for key in keys)]
        return next((found for found in places if found), None)

    def warn_of_unknown_keys(self, known: Mapping[str, set[str]]) -> None:
        """Log one warning that names every table and key of the file that is not a setting.

        Args:
            known: the keys of each table.
        """
        unknown = [f"[{table}]" for table in self._tables if table not in known]
        for table in known:
            unknown += [f"[{table}] {key}" for key in self._tables.get(table, {}) if key not in known[table]]
        if unknown:
            _log.warning("Unknown settings in %s are ignored: %s", self._path, ", ".join(unknown))


def _find_file() -> Path | None:
    named = os.environ.get("RABIBRIDGE_CONFIG", "").strip()
    if named and not os.path.isfile(named):
        raise ConfigurationError(
            f"RABIBRIDGE_CONFIG names the configuration file {named!r}, which does not exist (relative to "
            f"{Path.cwd()}); correct the environment variable or remove it"
        )
    return next((Path(name).absolute() for name in ([named] if named else _FILES) if os.path.isfile(name)), None)


def _read_toml(path: Path, known: Sequence[str]) -> dict[str, dict[str, Any]]:
    import tomllib

    # Only the reason is kept: in some versions of Python the exception holds the text of the file, passwords included.
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        problem = ""
    except tomllib.TOMLDecodeError as error:
        tables, problem = {}, f"is not valid TOML: {error}"
    except UnicodeDecodeError:
        tables, problem = {}, "is not UTF-8 text"
    except OSError as error:
        tables, problem = {}, f"cannot be read: {error.strerror}"
    stray = [name for name, table in tables.items() if not isinstance(table, dict)]
    if stray:
        problem = (
            f"has {', '.join(stray)} outside a table; write it under {' or '.join(f'[{table}]' for table in known)}"
        )
    if problem:
        raise ConfigurationError(f"the configuration file {path} {problem}")
    return tables
