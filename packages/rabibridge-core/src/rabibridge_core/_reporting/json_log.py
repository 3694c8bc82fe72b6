"""Log records as JSON, one object a line, for what collects logs."""

from __future__ import annotations

import json
import logging
import math
from datetime import UTC, datetime
from typing import Any

from rabibridge_core._reporting.error_text import message_of, repr_of
from rabibridge_core._reporting.log_fields import PREFIX

__all__ = ["JsonLogFormatter", "added_fields"]

_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_DEPTH_MAX = 8


def added_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what ``extra=`` and filters have added to a record, as values of JSON; without empty ``rb_`` fields."""
    return {
        name: _plain(value)
        for name, value in vars(record).items()
        if name not in _KNOWN and (value or not name.startswith(PREFIX))
    }


def _plain(value: object, depth: int = 0) -> object:
    """Return a value of JSON: a program may log anything, and no value may cost the record."""
    kind = type(value)
    if value is None or kind in (str, bool, int):
        return value
    if kind is float:
        assert isinstance(value, float)
        return value if math.isfinite(value) else str(value)  # JSON knows no others
    if depth < _DEPTH_MAX:
        if isinstance(value, dict):
            return {message_of(key): _plain(inner, depth + 1) for key, inner in list(value.items())}
        if isinstance(value, list | tuple):
            return [_plain(inner, depth + 1) for inner in list(value)]
    return repr_of(value)


class JsonLogFormatter(logging.Formatter):
    """Formats a record as ``{"time", "level", "logger", "message", "process", ...}``.

    ``time`` is in UTC as RFC 3339 writes it. ``worker`` is the number of the worker, under a supervisor; ``exception``
    is a traceback. What a program adds by ``extra=`` is there under its own name, and so are the fields of RabiBridge's
    own records, which begin with ``rb_``.
    """

    def __init__(self, worker: int | None = None) -> None:
        """Format records of this worker; ``None``: of a process that is none."""
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fields = added_fields(record) | {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if self._worker is not None:
            fields["worker"] = self._worker
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            fields["exception"] = record.exc_text
        if record.stack_info:
            fields["stack"] = record.stack_info
        return json.dumps(fields)
