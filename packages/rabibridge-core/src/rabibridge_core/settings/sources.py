"""The places that settings come from: arguments, environment variables and the configuration file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings.configuration_file import ConfigurationFile, is_blank

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["SourcedValue", "Sources"]

_log = get_logger(__name__)

_VARIABLES = "RABIBRIDGE_"
_NO_SETTINGS = frozenset({"RABIBRIDGE_URL", "RABIBRIDGE_CONFIG"})
"""Variables that have no key in the file."""
_TOLERATED = ("RABIBRIDGE_TEST_",)


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

    A variable or a key with a blank text counts as not set: templates and compose files leave such. A blank argument is
    an error.
    """

    def __init__(self, arguments: Mapping[str, object], tables: Sequence[str]) -> None:
        """Take the arguments that are not ``None`` and read the file.

        Args:
            arguments: arguments by name.
            tables: the tables that the file may have, for error messages.

        Raises:
            ConfigurationError: an argument is an empty text, or the file is named but missing, unreadable, not TOML, or
                writable by others.
        """
        self.arguments = {name: value for name, value in arguments.items() if value is not None}
        for name, value in self.arguments.items():
            if is_blank(value):
                raise ConfigurationError(
                    f"the argument {name}= is empty; leave it out to take the setting from elsewhere"
                )
        self._file = ConfigurationFile(tables)

    @property
    def file_note(self) -> str:
        """A sentence that names the file that was read, or the files that were looked for."""
        return self._file.note

    def argument(self, name: str) -> SourcedValue | None:
        """Return the argument ``name`` if it was given."""
        if name not in self.arguments:
            return None
        return SourcedValue(self.arguments[name], f"the argument {name}=", 0)

    def variable(self, name: str) -> SourcedValue | None:
        """Return the environment variable ``name`` if it is set and not empty."""
        value = os.environ.get(name, "")
        return None if is_blank(value) else SourcedValue(value, f"the environment variable {name}", 1)

    def key(self, table: str, name: str) -> SourcedValue | None:
        """Return the key ``name`` of the file's ``table`` if it is there and not empty."""
        value = self._file.tables.get(table, {}).get(name, "")
        return None if is_blank(value) else SourcedValue(value, f"{name} under [{table}] in {self._file.path}", 2)

    def refuse_unnamed(self, table: str, names: Sequence[str]) -> None:
        """Refuse keys that only a file that was named may have.

        Raises:
            ConfigurationError: the file was found in the current folder, and has one of them.
        """
        for name in names:
            if not self._file.named and (found := self.key(table, name)) and found.value not in (False, "false"):
                raise ConfigurationError(
                    f"{found.source} is not accepted: the file was found in the current folder, and whoever puts a "
                    "file there must not decide whose code runs here. Name the file in the environment variable "
                    f"RABIBRIDGE_CONFIG, or set the environment variable {_VARIABLES}{name}"
                )

    def find(self, variables: Sequence[str], table: str, keys: Sequence[str]) -> SourcedValue | None:
        """Return the first that is set: the variables in their order, then the keys of the table in their order."""
        places = [*map(self.variable, variables), *(self.key(table, key) for key in keys)]
        return next((found for found in places if found), None)

    def warn_of_unknown_keys(self, known: Mapping[str, set[str]]) -> None:
        """Log one warning for the file and one for the environment that name everything that is not a setting.

        Args:
            known: the keys of each table of the file.
        """
        tables = self._file.tables
        unknown = [f"[{table}]" for table in tables if table not in known]
        for table in known:
            unknown += [f"[{table}] {key}" for key in tables.get(table, {}) if key not in known[table]]
        if unknown:
            _log.warning("Unknown settings in %s are ignored: %s", self._file.path, ", ".join(unknown))
        variables = _NO_SETTINGS | {_VARIABLES + key for key in known["app"]}
        stray = [
            name
            for name in sorted(os.environ)
            if name.startswith(_VARIABLES) and name not in variables and not name.startswith(_TOLERATED)
        ]
        if stray:
            _log.warning("Unknown environment variables are ignored: %s", ", ".join(stray))
