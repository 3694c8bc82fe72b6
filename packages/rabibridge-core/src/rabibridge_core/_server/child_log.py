"""The log of child processes: their records are written by the handlers of the worker."""

from __future__ import annotations

import logging
from typing import Any

from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

__all__ = ["handle_record", "log_levels"]

_log = get_logger(__name__)
_limited = LimitedLog(_log)


def log_levels() -> dict[str, int]:
    """Return the levels of those loggers of this process that have one, for a child process; the root is ``""``."""
    known = logging.root.manager.loggerDict
    levels = {name: logger.level for name, logger in known.items() if isinstance(logger, logging.Logger)}
    return {name: level for name, level in levels.items() if level} | {"": logging.root.level}


def handle_record(fields: dict[str, Any], pid: int) -> None:
    """Give a log record of a child to the loggers of this process."""
    try:
        name, level, text = str(fields["name"]), int(fields["level"]), str(fields["text"])
        logger = logging.getLogger(name)
        if not logger.isEnabledFor(level):
            return
        record = logger.makeRecord(name, level, str(fields["path"]), int(fields["line"]), text, (), None)
        record.created, record.funcName = float(fields["created"]), str(fields["function"])
        record.threadName, record.process, record.processName = str(fields["thread"]), pid, "rabibridge-child"
        record.exc_text = fields["error"]
        known = vars(record)
        for added, value in fields["added"].items():
            known.setdefault(str(added), value)  # what was added there, and the call that runs there
        logger.handle(record)
    except Exception:  # noqa: BLE001 - a handler of the program may raise anything
        _limited.log(
            "a log record of a child process cannot be written", logging.ERROR,
            "a log record of child process %d cannot be written", pid,
            extra=log_fields("child.record_lost", pid=pid), exc_info=True,
        )  # fmt: skip
