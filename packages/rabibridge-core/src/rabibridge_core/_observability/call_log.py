"""Puts the call that a handler processes into every log record that is written meanwhile, also by other libraries."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rabibridge_core._observability.call_context import CurrentCall, current_call_var
from rabibridge_core._observability.request_scope import RequestScope
from rabibridge_core._reporting.error_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CALL_FIELDS", "CallLogFilter", "add_log_fields", "call_fields"]

CALL_FIELDS = ("rb_service", "rb_call_id", "rb_attempt", "rb_request_id")
_further: list[Callable[[], Mapping[str, object]]] = []


class CallLogFilter(logging.Filter):
    """Adds the call that is being processed to every log record: a filter for a handler of the logging package.

    A record that is written while a handler of a service runs gets ``rb_service``, ``rb_call_id`` (the caller finds the
    same id in its errors and logs) and ``rb_attempt`` (from 1; more if the call was delivered before). That is so in
    async functions and the tasks that they start, in functions that run in threads or in child processes, in
    generators, providers and broadcasts; in threads that a handler starts by itself, with
    :meth:`CurrentCall.run_in_thread` or :meth:`CurrentCall.bind`. A record that is written elsewhere gets empty text
    and 0, so that a format may name the fields. ``rb_request_id`` is the id of the web request that a gateway answers,
    or of the block of :func:`request_scope`. Values that a record has already are kept, and no record is dropped.

    Add it to handlers, not to loggers: a filter of a logger does not see the records of the loggers below it. Before a
    ``QueueHandler``, add it to that one, which runs in the thread that logs.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields to a record, and let it through."""
        known = vars(record)
        for name, value in call_fields().items():
            known.setdefault(name, value)
        known.setdefault("rb_service", "")
        known.setdefault("rb_call_id", "")
        known.setdefault("rb_attempt", 0)
        known.setdefault("rb_request_id", "")
        return True


def call_fields() -> dict[str, object]:
    """Return the fields of the call that is being processed here, and those of :func:`add_log_fields`."""
    scope = current_call_var.get()
    fields: dict[str, object] = {}
    if isinstance(scope, RequestScope):
        fields["rb_request_id"] = scope.request_id
        while isinstance(scope, RequestScope):
            scope = scope.outer
    if isinstance(scope, CurrentCall):
        fields["rb_service"] = scope.service
        fields["rb_call_id"] = printable(scope.correlation_id)
        fields["rb_attempt"] = scope.attempt
    for source in _further:
        fields.update(source())
    return fields


def add_log_fields(source: Callable[[], Mapping[str, object]]) -> None:
    """Let :class:`CallLogFilter` add what ``source`` returns, too, such as the ids of a trace; it must not raise.

    It is called in the thread and context of each record. Adding the same function twice has no effect.
    """
    if source not in _further:
        _further.append(source)
