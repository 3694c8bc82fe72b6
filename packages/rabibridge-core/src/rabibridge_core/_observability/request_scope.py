"""Requests of other protocols for which calls are made, such as HTTP requests that a gateway answers."""

from __future__ import annotations

import re
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeGuard

from rabibridge_core._clock import monotonic
from rabibridge_core._concurrency.durations import as_seconds
from rabibridge_core._observability.call_context import CallScope, current_call_var
from rabibridge_core._protocol.headers import check_call_headers
from rabibridge_core._protocol.naming import is_class_name
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from rabibridge_core.transport import Headers

__all__ = ["RequestScope", "is_request_id", "request_scope"]

_ID_MAX = 128
_REQUEST_ID = re.compile(rf"[!-~]{{1,{_ID_MAX}}}")


class RequestScope(CallScope):
    """A request of another protocol: calls made for it inherit its deadline, its class and some headers.

    It never gives more than the scope around it: its deadline is the earlier one of both.

    Attributes:
        outer: the call that is being processed, or the request, inside of which this one began; ``None``: neither.
    """

    __slots__ = ("_criticality", "_request_id", "outer", "passed_on")

    what = "the request that is being answered here"

    def __init__(
        self,
        timeout: float | timedelta | None = None,
        criticality: str | None = None,
        headers: Headers | None = None,
        request_id: str | None = None,
    ) -> None:
        """Check the arguments, which :func:`request_scope` describes, and start the time."""
        super().__init__()
        outer = current_call_var.get()
        if outer is not None and outer.over:
            outer = None
        if request_id is not None and not is_request_id(request_id):
            raise ConfigurationError(
                f"request_id is {repr(request_id)[:80]}; it must have 1 to {_ID_MAX} visible ASCII characters"
            )
        self.outer, self._request_id = outer, request_id
        if criticality is not None and not is_class_name(criticality):
            raise ConfigurationError(f"criticality is {repr(criticality)[:80]}; it must be the name of a class")
        if criticality is None and outer is not None:
            criticality = outer.criticality
        self._criticality = criticality
        if headers:
            check_call_headers(headers)
        self.passed_on = {**(outer.passed_on if outer is not None else {}), **(headers or {})}
        self.ends_at = None if outer is None else outer.ends_at
        if timeout is not None:
            self.limit(timeout)

    def limit(self, timeout: float | timedelta) -> None:
        """Let calls made from now on end within this time, in seconds or as a timedelta, if they would not sooner.

        Raises:
            ConfigurationError: it is no time.
        """
        seconds = as_seconds(timeout)
        if seconds is None:
            raise ConfigurationError(f"timeout is {timeout!r}; it must be a number of seconds or a timedelta")
        ends_at = monotonic() + seconds
        self.ends_at = ends_at if self.ends_at is None else min(ends_at, self.ends_at)

    @property
    def request_id(self) -> str:
        """The id of the request in the log; one that nobody gave is that of the request around it, or of its trace."""
        if self._request_id is None:
            trace = self.passed_on.get("traceparent")
            if isinstance(self.outer, RequestScope):
                self._request_id = self.outer.request_id
            elif isinstance(trace, str) and len(parts := trace.split("-")) >= 4 and is_request_id(parts[1]):
                self._request_id = parts[1]
            else:
                self._request_id = secrets.token_hex(8)
        return self._request_id

    @property
    def criticality(self) -> str | None:
        """The class of criticality that calls made in it inherit; ``None``: none."""
        return self._criticality

    @property
    def chain(self) -> str:
        """The calls that wait for the calls made in it: those of the call around it."""
        outer = self.outer
        return "" if outer is None or outer.over else outer.chain

    @property
    def headers(self) -> Headers:
        """The headers that calls made in it have."""
        return self.passed_on


def is_request_id(text: object) -> TypeGuard[str]:
    """Tell whether a text can be the id of a request."""
    return isinstance(text, str) and _REQUEST_ID.fullmatch(text) is not None


@contextmanager
def request_scope(
    *,
    timeout: float | timedelta | None = None,
    criticality: str | None = None,
    headers: Headers | None = None,
    request_id: str | None = None,
) -> Iterator[None]:
    """Let every call that is made in a ``with`` block inherit a deadline, a class and headers, by whatever client.

    It is what a gateway puts around the handling of one request, so that all calls for it together take no longer than
    the request may take. It holds in the task or thread of the block, and in tasks that are started in it, until the
    block ends. ``options(inherit_deadline=False)`` exempts calls from the deadline. Blocks can be nested: the earlier
    deadline counts.

    Example::

        with request_scope(timeout=2):
            first = await client.call(add, 1, 2)
            second = await client.call(add, first, 3)  # has what is left of the two seconds

    Args:
        timeout: the time for all calls together, in seconds or as a timedelta; ``None``: no limit.
        criticality: the class of calls that name none; ``None``: none.
        headers: headers of every call.
        request_id: the id of the request in the log, to which :class:`CallLogFilter` adds it as ``rb_request_id``;
            ``None``: that of the block around it, or of the trace in ``headers``, or else a random one.

    Raises:
        ConfigurationError: ``timeout`` is no time, ``criticality`` is no name of a class, a header is not allowed, or
            ``request_id`` is no text of 1 to 128 visible ASCII characters.
    """
    scope = RequestScope(timeout, criticality, headers, request_id)
    token = current_call_var.set(scope)
    try:
        yield
    finally:
        scope.over = True
        current_call_var.reset(token)
