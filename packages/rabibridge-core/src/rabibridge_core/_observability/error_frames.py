"""Removes the frames that errors carry, where these frames hold passwords.

Whatever reports an error with the variables of its frames (an error tracker, a test runner, a rich traceback) would
publish them.
"""

from __future__ import annotations

import logging
import traceback

__all__ = ["drop_frames"]

_log = logging.getLogger(__name__)


def drop_frames(error: BaseException) -> None:
    """Remove the tracebacks of an error and of its causes; they are logged at DEBUG level, as text."""
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug("%s", "".join(traceback.format_exception(error)).rstrip())
    waiting: list[BaseException | None] = [error]
    seen = set[int]()  # libraries raise errors that are their own cause
    while waiting:
        found = waiting.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            found.__traceback__ = None
            waiting += [found.__cause__, found.__context__]
