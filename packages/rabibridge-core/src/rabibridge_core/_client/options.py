"""The options of one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from datetime import timedelta

    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core._protocol.naming import FunctionKind
    from rabibridge_core.transport import Headers

__all__ = ["AnyOptions", "CallOptions"]

AnyOptions: TypeAlias = (
    "tuple[FunctionKind, float | timedelta | None, bool, str | None, bool, bool, RetryRefused | None, Headers | None]"
)
"""A :class:`CallOptions`, or a plain tuple of the same fields, which Python makes and unpacks faster."""


class CallOptions(NamedTuple):
    """How one call is made; everything about it but the function and its arguments.

    Attributes:
        kind: ``"async"``, ``"sync"``, or ``"any"``.
        timeout: for the whole call, in seconds or as a timedelta; ``None``: the client's ``call_timeout``.
        idempotent: running the call twice does no harm: it is sent again after a lost connection. So are calls of
            services whose last reply said that they are idempotent.
        idempotency_key: a worker runs one of the calls of a service with the same key; implies ``idempotent``.
            ``None``: each call has a key of its own.
        persistent: the call survives a restart of the broker, and runs even if this client is gone.
        inherit_deadline: in a handler, the call gets no more time than is left to the call being processed.
        retry: how the call is sent again if the queue is full; ``None``: not at all.
        headers: further headers of the request; ``None``: none.
    """

    kind: FunctionKind = "async"
    timeout: float | timedelta | None = None
    idempotent: bool = False
    idempotency_key: str | None = None
    persistent: bool = False
    inherit_deadline: bool = True
    retry: RetryRefused | None = None
    headers: Headers | None = None
