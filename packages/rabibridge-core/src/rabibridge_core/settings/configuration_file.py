"""Finds and reads the configuration file, if it can be trusted.

A configuration file says where passwords are sent and whose code runs, so it must be under the control of the user who
runs the program. A file in the current folder is read only if it belongs to this user or to root; a file that was
named may belong to anybody, because whoever named it chose it. A file that everybody may write is never read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ConfigurationFile", "is_blank"]

_log = get_logger(__name__)

_FILES = ("rabibridge.toml", "config/env.toml")
_NONE = "none"


def is_blank(value: object) -> bool:
    """Tell whether a value is a text without any visible character."""
    return isinstance(value, str) and not value.strip()


class ConfigurationFile:
    """The configuration file that applies: the named one, else the first in the current folder that may be read.

    Attributes:
        path: the file; ``None``: there is none.
        named: whether the environment variable RABIBRIDGE_CONFIG names it.
        tables: its content; empty without a file.
    """

    def __init__(self, tables: Sequence[str]) -> None:
        """Find and read the file.

        Args:
            tables: the tables that the file may have, for error messages.

        Raises:
            ConfigurationError: the file is named but missing, no file, or writable by others; or it is unreadable or
                not TOML.
        """
        given = os.environ.get("RABIBRIDGE_CONFIG", "").strip()
        self._switched_off = given.lower() == _NONE
        self.named = bool(given) and not self._switched_off
        self.path = None if self._switched_off else _named(given) if given else _discovered()
        self.tables = _read_toml(self.path, tables) if self.path else {}
        if self.path:
            _log.info("The configuration file %s was read", self.path)

    @property
    def note(self) -> str:
        """A sentence that names the file that was read, or the files that were looked for."""
        if self.path:
            return f"The configuration file that was read is {self.path}."
        if self._switched_off:
            return "No configuration file was looked for, because RABIBRIDGE_CONFIG is none."
        places = " and ".join(f"./{name}" for name in _FILES)
        return f"No configuration file was found: RABIBRIDGE_CONFIG is not set; looked for {places} in {Path.cwd()}."


def _named(given: str) -> Path:
    path = Path(given).absolute()
    problem = ""
    if path.is_dir():
        problem = "is a folder: name the file in it"
    elif not path.exists():
        problem = f"does not exist (relative to {Path.cwd()})"
    elif flaw := _writable_by_others(path.stat()):
        problem = flaw
    if problem:
        raise ConfigurationError(
            f"RABIBRIDGE_CONFIG names the configuration file {given!r}, which {problem}; correct the environment "
            "variable or the file, or remove the variable"
        )
    return path


def _discovered() -> Path | None:
    for name in _FILES:
        path = Path(name).absolute()
        if not path.is_file():
            continue
        status = path.stat()
        flaw = _writable_by_others(status) or _of_another_user(status)
        if not flaw:
            return path
        _log.warning(
            "The configuration file %s is not read: it %s. If it is meant, name it in the environment variable "
            "RABIBRIDGE_CONFIG; RABIBRIDGE_CONFIG=none looks for no file",
            path, flaw,
        )  # fmt: skip
    return None


def _writable_by_others(status: os.stat_result) -> str:
    # A group with the number of the owner is the owner's own, as most systems set up users.
    group = stat.S_IWGRP if status.st_gid not in (status.st_uid, 0) else 0
    if os.name == "posix" and stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_IWOTH | group):
        return f"may be written by others than its owner (mode {stat.S_IMODE(status.st_mode):o}): run chmod go-w on it"
    return ""


def _of_another_user(status: os.stat_result) -> str:
    if os.name == "posix" and status.st_uid not in (0, os.geteuid()):
        return f"belongs to another user (number {status.st_uid})"
    return ""


def _read_toml(path: Path, known: Sequence[str]) -> dict[str, dict[str, Any]]:
    import tomllib

    # Only the reason is kept: in some versions of Python the exception holds the text of the file, passwords included.
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
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
