"""A file with the process id of a supervisor, while it runs."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["pid_file"]

_log = get_logger(__name__)


@contextlib.contextmanager
def pid_file(path: Path | None) -> Iterator[None]:
    """Keep the id of this process in a file during a block; ``None``: in none.

    A file that a process left behind which does not run any more is replaced.

    Raises:
        ConfigurationError: the process that is named in it runs, or the file cannot be written.
    """
    if path is None:
        yield
        return
    own = str(os.getpid())
    running = _running(path)
    if running:
        raise ConfigurationError(
            f"{path} names process {running}, which runs: stop it, or give each program a PID file of its own"
        )
    new = path.with_name(f"{path.name}.{own}")
    try:
        new.write_text(f"{own}\n")
        new.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise ConfigurationError(f"the PID file {path} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        try:
            if path.read_text().strip() == own:
                path.unlink()
        except OSError as error:
            _log.warning(
                "the PID file %s cannot be removed: %s", path, error,
                extra=log_fields("supervisor.pid_file_left", path=path, error=error),
            )  # fmt: skip


def _running(path: Path) -> int:
    """Return the process that a file names, if it runs and is not this one; else 0."""
    pid = 0
    try:
        pid = int(path.read_text())
        if pid <= 0 or pid == os.getpid():
            return 0
        os.kill(pid, 0)
    except PermissionError:
        return pid  # it runs as another user
    except (OSError, ValueError, OverflowError):
        return 0
    return pid
