"""Removes the frames that errors carry, where these frames hold passwords.

Whatever reports an error with the variables of its frames (an error tracker, a test runner, a rich traceback) would
publish them.
"""

from __future__ import annotations

import logging

from rabibridge_core._reporting.error_text import traceback_of
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import TextBlock, get_logger

__all__ = ["drop_frames"]

_log = get_logger(__name__)


def drop_frames(error: BaseException) -> None:
    """Remove the tracebacks of an error and of its causes; they are logged at DEBUG level, as text."""
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug(
            "the frames of an error are removed from it:\n%s", TextBlock(traceback_of(error)),
            extra=log_fields("process.frames_dropped", error=error),
        )  # fmt: skip
    waiting: list[BaseException | None] = [error]
    seen = set[int]()  # libraries raise errors that are their own cause
    while waiting:
        found = waiting.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            found.__traceback__ = None
            waiting += [found.__cause__, found.__context__]
