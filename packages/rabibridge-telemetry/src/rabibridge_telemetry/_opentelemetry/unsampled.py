"""The context of a request whose caller's span is not sampled.

Where few calls are sampled, nearly all requests have such a context, and few functions look at it. So it takes one
object, which holds the headers of the request until somebody reads it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import NonRecordingSpan, SpanContext

from rabibridge_core._protocol.headers import TRACEPARENT
from rabibridge_telemetry._opentelemetry.headers import SPAN_KEY, span_context_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import ContextVar

    from rabibridge_core.transport import Headers

__all__ = [
    "UnsampledContext",
    "UnsampledParent",
    "attach",
    "current_context",
    "is_sampled",
    "is_unsampled",
    "plain_headers",
]

is_unsampled: Final = re.compile(
    r"00-(?!0{32})[0-9a-f]{32}+-(?!0{16})[0-9a-f]{16}+-[0-9a-f][02468ace]", re.ASCII
).fullmatch
"""Tells whether a header is the valid context of a span that is not sampled."""
is_sampled: Final = re.compile(
    r"00-(?!0{32})[0-9a-f]{32}+-(?!0{16})[0-9a-f]{16}+-[0-9a-f][13579bdf]", re.ASCII
).fullmatch
"""Tells whether a header is the valid context of a span that is sampled."""


def _variable() -> ContextVar[Context] | None:
    """Return what the functions of OpenTelemetry set and get in the end, where that is what is known here."""
    runtime = getattr(contexts, "_RUNTIME_CONTEXT", None)
    return getattr(runtime, "_current_context", None) if type(runtime) is ContextVarsRuntimeContext else None


_found = _variable()
attach: Callable[[Context], object] = contexts.attach if _found is None else _found.set
"""Makes a context the current one, for the rest of the task."""
current_context: Callable[[], Context] = contexts.get_current if _found is None else _found.get
"""Returns the current context."""


class UnsampledParent(NonRecordingSpan):
    """A caller's span that is not sampled, whose ids are read if anything asks for them."""

    _found: SpanContext | None = None

    def __init__(self, headers: Headers) -> None:  # that of the base is not called: it needs the ids
        """Read nothing yet; ``headers`` are those of the request."""
        self._headers = headers

    def __repr__(self) -> str:
        """Show the ids."""
        return f"{type(self).__name__}({self.get_span_context()!r})"

    def get_span_context(self) -> SpanContext:
        """Return the ids."""
        if self._found is None:
            self._found = span_context_of(self._headers) or trace.INVALID_SPAN_CONTEXT
        return self._found

    def plain_headers(self) -> Headers | None:
        """Return the headers of a call in the same trace; ``None``: more than ``traceparent`` belongs to them."""
        return plain_headers(self._headers)


def plain_headers(headers: Headers) -> Headers | None:
    """Return those that a call in the trace of a request has; ``None``: more than ``traceparent`` belongs to them."""
    return None if "tracestate" in headers else {TRACEPARENT: headers[TRACEPARENT]}


class UnsampledContext(Context):
    """A context with an :class:`UnsampledParent` as the current span, and nothing else.

    It is empty until it is read. All methods of a dictionary that read it fill it first, and so does what copies it:
    ``dict()`` and ``**`` ask dictionaries with an iterator of their own for their keys.

    Attributes:
        headers: those of the request; to be set once, after it is made.
    """

    __slots__ = ("headers",)

    headers: Headers

    def __len__(self) -> int:
        """Return 1."""
        return 1


def _filled_first(name: str) -> Callable[..., Any]:
    read = getattr(dict, name)

    def method(self: UnsampledContext, *arguments: Any) -> Any:
        if not dict.__len__(self):  # two threads may fill it at a time
            dict.setdefault(self, SPAN_KEY, UnsampledParent(self.headers))
        return read(self, *arguments)

    return method


for _name in (
    "__contains__", "__eq__", "__getitem__", "__iter__", "__ne__", "__or__", "__repr__", "__reversed__", "__ror__",
    "copy", "get", "items", "keys", "values",
):  # fmt: skip
    setattr(UnsampledContext, _name, _filled_first(_name))
