"""What a log record of this package carries besides its text: the attributes that ``extra=`` sets, under stable names.

Every record has ``rb_event``; programs that collect logs select by it, not by the text, which may change.
docs/logging.md lists all events with their fields. The prefix keeps the names apart from those of ``LogRecord`` and of
other libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rabibridge_core._reporting.error_text import class_names, message_of, printable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FIELDS", "PREFIX", "log_fields"]

PREFIX: Final = "rb_"
_TEXT_MAX: Final = 1_000
FIELDS: Final = {
    "event": "what has happened, such as `connection.lost`",
    "instance": "the client or server that logs, such as `RMQServer@host:4711`",
    "service": "the service, or the function that was called",
    "call_id": "the caller's id of the call; the caller finds it as `correlation_id` in its errors",
    "attempt": "how many times it was tried, or the call delivered, this time included; from 1",
    "user": "the user of the broker that has sent the call",
    "peer": "the broker, as `host:port`",
    "error": "the class of the exception, with its module",
    "reason": "why, as one of few texts",
    "duration": "how long it took or has taken up to now, in seconds",
    "delay": "in how many seconds it is tried again",
    "count": "how many calls, services, messages or processes it is about",
    "suppressed": "how many like it were not logged since the last line",
    "queue": "the queue on the broker",
    "path": "the file or folder",
    "provider": "the provider of a parameter, with its place in the source",
    "plugin": "the plug-in, or its hook",
    "worker": "the number of the worker, under a supervisor",
    "pid": "the process that it is about",
}
"""Every field, without its prefix, and what it holds."""


def log_fields(
    event: str,
    *,
    instance: str | None = None,
    service: str | None = None,
    call_id: str | bytes | None = None,
    attempt: int | None = None,
    user: str | None = None,
    peer: object = None,
    error: BaseException | type[BaseException] | None = None,
    reason: str | None = None,
    duration: float | None = None,
    delay: float | None = None,
    count: int | None = None,
    suppressed: int | None = None,
    queue: str | bytes | None = None,
    path: str | Path | None = None,
    provider: str | None = None,
    plugin: str | None = None,
    worker: int | None = None,
    pid: int | None = None,
) -> dict[str, object]:
    """Return what ``extra=`` takes; fields that are ``None`` are left out. Text is escaped and of bounded length."""
    fields: dict[str, object] = {"rb_event": event}
    for name, value in (
        ("rb_instance", instance), ("rb_service", service), ("rb_call_id", call_id), ("rb_user", user),
        ("rb_peer", peer), ("rb_reason", reason), ("rb_queue", queue), ("rb_path", path), ("rb_provider", provider),
        ("rb_plugin", plugin),
    ):  # fmt: skip
        if value is not None:
            fields[name] = _text(value)
    for name, number in (
        ("rb_attempt", attempt), ("rb_count", count), ("rb_suppressed", suppressed), ("rb_worker", worker),
        ("rb_pid", pid),
    ):  # fmt: skip
        if number is not None:
            fields[name] = number
    for name, seconds in (("rb_duration", duration), ("rb_delay", delay)):
        if seconds is not None:
            fields[name] = round(seconds, 6)
    if error is not None:
        fields["rb_error"] = class_names(error if isinstance(error, type) else type(error))[0]
    return fields


def _text(value: object) -> str:
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else message_of(value)
    return printable(text[:_TEXT_MAX])
