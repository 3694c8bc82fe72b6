"""Options that few calls have. Calls that have none take no step for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabibridge_core._client.circuit import CircuitBreaker
    from rabibridge_core._client.hedge import Hedge
    from rabibridge_core._client.progress import OnProgress
    from rabibridge_core.transport import Headers

__all__ = ["RareOptions", "plain_headers", "wanted_progress", "without_progress"]


class RareOptions(dict[str, "str | int | float | bool | bytes"]):
    """Headers of a call that has rare options: so the options of a call need no further field.

    Attributes:
        plain: the headers themselves.
        on_progress: what is called with reports of progress; ``None``: nothing.
        hedge: when a second copy is sent; ``None``: never.
        breaker: when it is not sent; ``None``: always.
    """

    __slots__ = ("breaker", "hedge", "on_progress", "plain")

    def __init__(
        self,
        plain: Headers | None,
        on_progress: OnProgress | None = None,
        hedge: Hedge | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        """Give rare options to a call with the headers ``plain``."""
        super().__init__(plain or {})
        self.plain = plain
        self.on_progress = on_progress
        self.hedge = hedge
        self.breaker = breaker


def wanted_progress(headers: Headers | None) -> OnProgress | None:
    """Return what is called with the reports of a call whose options have these headers; ``None``: it wants none."""
    return headers.on_progress if type(headers) is RareOptions else None


def plain_headers(headers: Headers | None) -> Headers | None:
    """Return the headers of a call as such."""
    return headers.plain if type(headers) is RareOptions else headers


def without_progress(headers: Headers | None) -> Headers | None:
    """Return the headers of a call whose progress nobody wants to know, with its other rare options."""
    if type(headers) is not RareOptions or headers.on_progress is None:
        return headers
    if headers.hedge is None and headers.breaker is None:
        return headers.plain
    return RareOptions(headers.plain, None, headers.hedge, headers.breaker)
