"""Finds and reads the configuration file, if it can be trusted.

A configuration file says where passwords are sent and whose code runs, so it must be under the control of the user who
runs the program. A file in the current folder is read only if it belongs to this user or to root; a file that was
named may belong to anybody, because whoever named it chose it. A file that everybody may write is never read.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings.toml_lines import lines_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FOUND_BY_NAME", "ConfigurationFile", "find_file", "flaw_of_mode", "flaw_of_path", "read_file"]

_log = get_logger(__name__)

_FILES = ("rabibridge.toml", "config/env.toml")
FOUND_BY_NAME = frozenset(name.rpartition("/")[2] for name in _FILES)
"""How files are called that are found in the current folder, rather than named."""
_SHARED = "env.toml"
_NONE = "none"


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """What was read of a configuration file, or that there is none.

    Attributes:
        path: the file; ``None``: there is none.
        named: whether somebody named it, rather than that it was found in the current folder.
        content: its tables; empty without a file.
        lines: the line of each table and key, by path.
        note: a sentence that names the file that was read, or the files that were looked for.
    """

    path: Path | None
    named: bool
    note: str
    content: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict, repr=False)

    @property
    def is_shared(self) -> bool:
        """Whether other programs may have tables in the file: RabiBridge 0.1 has chosen a general name for its own."""
        return self.path is not None and self.path.name == _SHARED

    def line_of(self, path: tuple[str, ...]) -> int | None:
        """Return the line of a table or key, or that of the table that it is written in."""
        return next((self.lines[path[:size]] for size in range(len(path), 0, -1) if path[:size] in self.lines), None)


def find_file(environ: Mapping[str, str], tables: Sequence[str]) -> ConfigurationFile:
    """Find and read the file that applies: the named one, else the first in the current folder that may be read.

    Args:
        environ: the environment variables.
        tables: the tables that the file may have, for error messages.

    Raises:
        ConfigurationError: the file is named but missing, no file, or writable by others; or it is unreadable or not
            TOML.
    """
    given = environ.get("RABIBRIDGE_CONFIG", "").strip()
    if given.lower() == _NONE:
        note = "No configuration file was looked for, because RABIBRIDGE_CONFIG is none."
        return ConfigurationFile(None, named=False, note=note)
    path = Path(given).absolute() if given else _discovered()
    if path is None:
        places = " and ".join(f"./{name}" for name in _FILES)
        note = f"No configuration file was found: RABIBRIDGE_CONFIG is not set; looked for {places} in {Path.cwd()}."
        return ConfigurationFile(None, named=False, note=note)
    if given and (problem := flaw_of_path(path)):
        raise ConfigurationError(
            f"RABIBRIDGE_CONFIG (or --config) names the configuration file {given!r}, which {problem}; correct "
            "the environment variable or the file, or remove the variable"
        )
    found = read_file(path, tables, named=bool(given))
    _log.info("The configuration file %s was read", path, extra=log_fields("settings.file_read", path=path))
    return found


def read_file(path: Path, tables: Sequence[str], *, named: bool) -> ConfigurationFile:
    """Read a file.

    Raises:
        ConfigurationError: it is unreadable or not TOML, or has keys outside its tables.
    """
    content, lines = _read_toml(path, tables)
    return ConfigurationFile(path, named, f"The configuration file that was read is {path}.", content, lines)


def flaw_of_path(path: Path) -> str:
    """Say what keeps a file that was named from being read; empty: nothing."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return f"does not exist (relative to {Path.cwd()})"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', error)}"
    return "is a folder: name the file in it" if stat.S_ISDIR(status.st_mode) else flaw_of_mode(status)


def _discovered() -> Path | None:
    for name in _FILES:
        path = Path(name).absolute()
        if not os.path.isfile(path):  # Path.is_file() raises where the folder may not be searched
            continue
        status = path.stat()
        flaw = flaw_of_mode(status) or _of_another_user(status)
        if not flaw:
            return path
        _log.warning(
            "The configuration file %s is not read: it %s. If it is meant, name it in the environment variable "
            "RABIBRIDGE_CONFIG; RABIBRIDGE_CONFIG=none looks for no file",
            path, flaw,
            extra=log_fields("settings.file_ignored", path=path),
        )  # fmt: skip
    return None


def flaw_of_mode(status: os.stat_result) -> str:
    """Say that others than the owner may write a file; empty: they may not."""
    # A group with the number of the owner is the owner's own, as most systems set up users.
    group = stat.S_IWGRP if status.st_gid not in (status.st_uid, 0) else 0
    if os.name == "posix" and stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IWOTH | group):
        return f"may be written by others than its owner (mode {stat.S_IMODE(status.st_mode):o}): run chmod go-w on it"
    return ""


def _of_another_user(status: os.stat_result) -> str:
    if os.name == "posix" and status.st_uid not in (0, os.geteuid()):
        return f"belongs to another user (number {status.st_uid})"
    return ""


def _read_toml(path: Path, known: Sequence[str]) -> tuple[dict[str, dict[str, Any]], dict[tuple[str, ...], int]]:
    import tomllib

    # Only the reason is kept: in some versions of Python the exception holds the text of the file, passwords included.
    tables: dict[str, Any] = {}
    lines: dict[tuple[str, ...], int] = {}
    problem = ""
    try:
        text = path.read_text(encoding="utf-8-sig")
        tables = tomllib.loads(text)
        lines = lines_of(text)
    except tomllib.TOMLDecodeError as error:
        problem = f"is not valid TOML: {error}"
    except UnicodeDecodeError:
        problem = "is not UTF-8 text"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    stray = [name for name, table in tables.items() if not isinstance(table, dict)]
    if stray:
        problem = (
            f"has {', '.join(stray)} outside a table; write it under {' or '.join(f'[{table}]' for table in known)}"
        )
    if problem:
        raise ConfigurationError(f"the configuration file {path} {problem}")
    return tables, lines
