"""Adds exceptions to spans, without the texts that may hold what is encrypted on the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from rabibridge_core.plugins.observers import Subject

__all__ = ["Exceptions"]


class Exceptions:
    """The exceptions of one client or server.

    A span is sent to a collector, which has none of the keys. So where calls are encrypted, the span has only the type
    of an exception: its message and its traceback may quote arguments.
    """

    __slots__ = ("_with_texts",)

    def __init__(self, subject: Subject) -> None:
        """Do as the settings of ``subject`` say."""
        settings = subject.settings
        self._with_texts = not (settings.encryption_key_id or settings.require_encryption)

    def record(self, span: Span, error: BaseException, kind: str) -> None:
        """Add an exception to a span.

        Args:
            span: the span.
            error: the exception.
            kind: its type, as the attribute ``error.type`` names it.
        """
        if self._with_texts:
            span.record_exception(error)
        else:
            span.add_event("exception", {"exception.type": kind})
