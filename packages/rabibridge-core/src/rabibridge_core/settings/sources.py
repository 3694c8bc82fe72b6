"""The places that settings come from: options, arguments, environment variables and the configuration file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings.configuration_file import find_file
from rabibridge_core.settings.fields import keys_of
from rabibridge_core.settings.layers import layers_of
from rabibridge_core.settings.origins import Origin, Rank, SourcedValue
from rabibridge_core.settings.secret_files import read_secret
from rabibridge_core.settings.unknown_names import VARIABLES, is_service_link

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rabibridge_core.settings.configuration_file import ConfigurationFile
    from rabibridge_core.settings.fields import SettingRule

__all__ = ["FILE_SUFFIX", "Sources", "is_blank", "secret_from_file"]

FILE_SUFFIX = "_FILE"
"""What the name of a secret ends in, where its value is the name of a file that holds the secret."""


def is_blank(value: object) -> bool:
    """Tell whether a value is a text without any visible character."""
    return isinstance(value, str) and not value.strip()


class Sources:
    """The arguments of one call, the environment, and the configuration file if there is one.

    A variable or a key with a blank text counts as not set: templates and compose files leave such. A blank argument is
    an error.

    Attributes:
        arguments: the arguments that were given, by name.
        file: the configuration file.
        profile: the profile that is selected, if any.
        layers: the layers of the file that apply.
        reads_secrets: whether files with secrets are opened, and encrypted secrets decrypted.
        warnings: what the user is to hear of the values that were taken.
    """

    def __init__(
        self,
        arguments: Mapping[str, object],
        known: Mapping[str, set[str]],
        *,
        options: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        file: ConfigurationFile | None = None,
        read_secrets: bool = True,
    ) -> None:
        """Take the arguments that are not ``None`` and read the file.

        Args:
            arguments: arguments by name; ``profile`` selects one of the file.
            known: the keys that each table of the file may have.
            options: values from a command line by the name of the setting.
            environ: the environment variables; ``None``: those of the process.
            file: the configuration file; ``None``: the one that applies.
            read_secrets: ``False`` does not open files with secrets, and takes these secrets for not given.

        Raises:
            ConfigurationError: an argument is an empty text, or the file is named but missing, unreadable, not TOML, or
                writable by others, or it has not the profile.
        """
        self.arguments = {name: value for name, value in arguments.items() if value is not None}
        self._options = {name: value for name, value in (options or {}).items() if value is not None}
        self.reads_secrets = read_secrets
        self.warnings: list[str] = []
        self._environ = os.environ if environ is None else environ
        for name, value in self.arguments.items():
            if is_blank(value):
                raise ConfigurationError(
                    f"the argument {name}= is empty; leave it out to take the setting from elsewhere"
                )
        self.file = file or find_file(self._environ, [table for table in known if table != "secret"])
        self.profile = self.argument("profile") or self.variable(f"{VARIABLES}PROFILE")
        self.layers = layers_of(self.file, self.profile, known)

    @property
    def file_note(self) -> str:
        """A sentence that names the file that was read, or the files that were looked for."""
        return self.file.note

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment variables."""
        return self._environ

    def argument(self, name: str) -> SourcedValue | None:
        """Return the option or argument ``name`` if it was given."""
        if name in self._options:
            return SourcedValue(self._options[name], Origin(Rank.OPTION, name))
        if name in self.arguments:
            return SourcedValue(self.arguments[name], Origin(Rank.ARGUMENT, name))
        return None

    def variable(self, name: str) -> SourcedValue | None:
        """Return the environment variable ``name`` if it is set and not empty."""
        value = self._environ.get(name, "")
        if is_blank(value) or is_service_link(name, value):
            return None
        return SourcedValue(value, Origin(Rank.VARIABLE, name))

    def key(self, table: str, name: str) -> SourcedValue | None:
        """Return the key ``name`` of the file's ``table`` if it is there and not empty."""
        return next((found for layer in self._keys(table, [name]) for found in layer), None)

    def setting(self, name: str, rule: SettingRule, parameters: Mapping[str, SourcedValue]) -> SourcedValue | None:
        """Return a setting: the argument, else the query parameter of a URL, else the variable, else the key.

        Raises:
            ConfigurationError: as :meth:`find_secret`, for a secret.
        """
        keys = keys_of(name, rule)
        find = self.find_secret if rule.secret else self.find
        return self.argument(name) or parameters.get(name) or find([f"{VARIABLES}{key}" for key in keys], "app", keys)

    def find(self, variables: Sequence[str], table: str, keys: Sequence[str]) -> SourcedValue | None:
        """Return the first that is set: the variables in their order, then the keys of the table in their order."""
        return next((found for place in self._places(variables, table, keys) for found in place), None)

    def find_secret(
        self, variables: Sequence[str], table: str, keys: Sequence[str], more: Sequence[str] = ()
    ) -> SourcedValue | None:
        """Return a secret, of which each place may have the name of a file instead.

        Args:
            variables: the variables that hold the secret itself.
            table: the table of the file.
            keys: the keys that hold the secret itself.
            more: further variables that hold the name of a file.

        Raises:
            ConfigurationError: one place has both, or the file cannot be used.
        """
        files = [[f"{name}{FILE_SUFFIX}" for name in names] for names in (variables, keys)]
        direct = self._places(variables, table, keys)
        named = self._places([*files[0], *more], table, files[1])
        for texts, names in zip(direct, named, strict=True):
            given = [*texts, *names]
            if len({found.origin for found in given}) > 1 and names:
                raise ConfigurationError(
                    f"{given[0].source} and {given[-1].source} contradict each other: remove one of them"
                )
            if names:
                return secret_from_file(names[0]) if self.reads_secrets else None
            if texts:
                return texts[0]
        return None

    def refuse_unnamed(self, table: str, name: str, variable: str, decision: str) -> None:
        """Refuse a key that only a file that was named may have, unless a variable takes precedence over it.

        Args:
            table: table of the key.
            name: the key.
            variable: the variable that has the same meaning.
            decision: what the key decides, in words for the error message.

        Raises:
            ConfigurationError: the file was found in the current folder, and has the key.
        """
        if self.file.named or self.variable(variable):
            return
        found = self.key(table, name)
        if found and found.value not in (False, "false"):
            raise ConfigurationError(
                f"{found.source} is not accepted: the file was found in the current folder, and whoever puts a file "
                f"there must not decide {decision}. Name the file in the environment variable RABIBRIDGE_CONFIG, or "
                f"set the environment variable {variable}"
            )

    def _places(self, variables: Iterable[str], table: str, keys: Sequence[str]) -> list[list[SourcedValue]]:
        return [list(filter(None, map(self.variable, variables))), *self._keys(table, keys)]

    def _keys(self, table: str, keys: Sequence[str]) -> list[list[SourcedValue]]:
        """Return what the keys hold in each layer of the file."""
        return [
            [
                SourcedValue(entry.value, entry.origin)
                for key in keys
                if (entry := layer.tables.get(table, {}).get(key)) and not is_blank(entry.value)
            ]
            for layer in self.layers
        ]


def secret_from_file(name: SourcedValue) -> SourcedValue:
    """Return the secret in the file that a place names."""
    text: Any = read_secret(name.value, name.source)
    origin = name.origin
    return SourcedValue(
        text, Origin(origin.rank, origin.name, origin.file, origin.table, origin.line, secret_file=str(name.value))
    )
