"""Requests of other protocols for which calls are made, such as HTTP requests that a gateway answers."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

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

__all__ = ["RequestScope", "request_scope"]


class RequestScope(CallScope):
    """A request of another protocol: calls made for it inherit its deadline, its class and some headers.

    It never gives more than the scope around it: its deadline is the earlier one of both.
    """

    __slots__ = ("_criticality", "passed_on")

    what = "the request that is being answered here"

    def __init__(
        self,
        timeout: float | timedelta | None = None,
        criticality: str | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Check the arguments, which :func:`request_scope` describes, and start the time."""
        super().__init__()
        outer = current_call_var.get()
        if outer is not None and outer.over:
            outer = None
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
    def criticality(self) -> str | None:
        """The class of criticality that calls made in it inherit; ``None``: none."""
        return self._criticality

    @property
    def headers(self) -> Headers:
        """The headers that calls made in it have."""
        return self.passed_on


@contextmanager
def request_scope(
    *,
    timeout: float | timedelta | None = None,
    criticality: str | None = None,
    headers: Headers | None = None,
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

    Raises:
        ConfigurationError: ``timeout`` is no time, ``criticality`` is no name of a class, or a header is not allowed.
    """
    scope = RequestScope(timeout, criticality, headers)
    token = current_call_var.set(scope)
    try:
        yield
    finally:
        scope.over = True
        current_call_var.reset(token)
