"""Ends a child process together with its parent."""

from __future__ import annotations

import signal
import sys

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

__all__ = ["die_with_parent"]

_log = get_logger(__name__)
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have this process killed when its parent is, even in the middle of native code. Only Linux can do that.

    A parent that ended before this call is not noticed: compare ``os.getppid()`` afterwards.
    """
    if sys.platform != "linux":
        return
    try:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (ImportError, OSError, AttributeError) as error:
        _log.debug(
            "this process is not killed together with its parent by the kernel: %s", error,
            extra=log_fields("process.outlives_parent", error=error),
        )  # fmt: skip
