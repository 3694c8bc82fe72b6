"""Notices that the program has changed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["check_can_watch", "watch_files"]

_log = get_logger(__name__)
_POLL_INTERVAL_MS = 2000
_QUIET_MS = 400
"""Changes that follow each other this quickly are one: an editor writes a file in steps, a checkout many files."""


def check_can_watch() -> None:
    """Check that files can be watched.

    Raises:
        ConfigurationError: the package that does it is missing.
    """
    if find_spec("watchfiles") is None:
        raise ConfigurationError("reloading on changes needs the package watchfiles: install rabibridge-core[reload]")


async def watch_files(paths: tuple[Path, ...], changed: Callable[[], None]) -> None:
    """Call ``changed`` whenever Python files or the given files have changed. Runs until cancelled.

    Args:
        paths: files, and folders with everything in them; links in them are followed once.
        changed: called on the event loop.
    """
    from watchfiles import PythonFilter, awatch

    python = PythonFilter()
    single = {str(path.resolve()) for path in paths if path.is_file()}
    roots = {path.parent if path.is_file() else path for path in paths}
    watching = awatch(
        *(root.resolve() for root in roots),
        watch_filter=lambda change, path: path in single or python(change, path),
        step=_QUIET_MS, rust_timeout=_POLL_INTERVAL_MS, recursive=True,
    )  # fmt: skip
    async for changes in watching:
        files = sorted({path for _, path in changes})
        _log.info(
            "%s has changed%s", files[0], f", and {len(files) - 1} more" if len(files) > 1 else "",
            extra=log_fields("supervisor.files_changed", count=len(files), path=files[0]),
        )  # fmt: skip
        changed()
