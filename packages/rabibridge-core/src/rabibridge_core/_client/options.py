"""The options of one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypedDict, get_args

from rabibridge_core._client.arguments import check_options
from rabibridge_core._client.circuit import CircuitBreaker
from rabibridge_core._client.hedge import AnyHedge, as_hedge
from rabibridge_core._client.rare_options import RareOptions
from rabibridge_core._client.routes import critical
from rabibridge_core._client.timeouts import check_idle_timeout, seconds_of
from rabibridge_core._protocol.headers import check_call_headers, check_idempotency_key
from rabibridge_core._protocol.naming import FunctionKind, is_class_name
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from datetime import timedelta

    from rabibridge_core._client.progress import OnProgress
    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core.transport import Headers

__all__ = ["NOTHING_GIVEN", "AnyOptions", "CallOptions", "GivenOptions", "OptionArguments", "with_rare_options"]

AnyOptions: TypeAlias = (
    "tuple[FunctionKind, float | timedelta | None, bool, str | None, bool, bool, RetryRefused | None, Headers | None]"
)
"""A :class:`CallOptions`, or a plain tuple of the same fields, which Python makes and unpacks faster."""


class CallOptions(NamedTuple):
    """How one call is made; everything about it but the function and its arguments.

    Attributes:
        kind: ``"async"``, ``"sync"``, or ``"any"``, and the class of criticality, if one is named
            (:func:`~rabibridge_core._client.routes.critical`).
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


_KINDS = get_args(FunctionKind)


class OptionArguments(TypedDict, total=False):
    """The keyword arguments of ``client.options``, which describes them."""

    kind: FunctionKind | None
    timeout: float | timedelta | None
    idempotent: bool | None
    idempotency_key: str | None
    persistent: bool | None
    inherit_deadline: bool | None
    retry: RetryRefused | Literal[False] | None
    headers: Headers | None
    criticality: str | None
    idle_timeout: float | timedelta | None
    on_progress: OnProgress | None
    hedge: AnyHedge | None
    breaker: CircuitBreaker | Literal[False] | None


class GivenOptions(NamedTuple):
    """The options that a caller has chosen; ``None`` means not chosen."""

    kind: FunctionKind | None = None
    timeout: float | timedelta | None = None
    idempotent: bool | None = None
    idempotency_key: str | None = None
    persistent: bool | None = None
    inherit_deadline: bool | None = None
    retry: RetryRefused | Literal[False] | None = None
    headers: Headers | None = None
    criticality: str | None = None
    idle_timeout: float | timedelta | None = None
    on_progress: OnProgress | None = None
    hedge: AnyHedge | None = None
    breaker: CircuitBreaker | Literal[False] | None = None

    def check(self) -> None:
        """Check every option.

        Raises:
            ConfigurationError: one has a wrong type or value.
        """
        kind, timeout, idempotent, key, persistent, inherit_deadline, retry, headers, criticality, idle, report = self[
            :11
        ]
        if kind is not None and kind not in _KINDS:
            raise ConfigurationError(f"kind is {kind!r}; it must be 'async', 'sync', or 'any' if it is not known")
        if timeout is not None:
            seconds_of(timeout)
        if idempotent is not None or persistent is not None or inherit_deadline is not None or retry is not None:
            once, kept, inherited = (given is None or given for given in (idempotent, persistent, inherit_deadline))
            check_options(once, kept, inherited, retry)
        if key is not None:
            check_idempotency_key(key)
        if headers is not None:
            if not isinstance(headers, Mapping):
                raise ConfigurationError(f"headers is {repr(headers)[:80]}; it must be a dict of names and values")
            check_call_headers(headers)
        if criticality is not None and not is_class_name(criticality):
            raise ConfigurationError(
                f"criticality is {repr(criticality)[:80]}; it must be the name of a class: 1 to 32 of the characters "
                "A-Z, a-z, 0-9, '_', '.' and '-'"
            )
        if idle is not None:
            check_idle_timeout(idle)
        if report is not None and not callable(report):
            raise ConfigurationError(f"on_progress is {repr(report)[:80]}; it must be a function of one argument")
        as_hedge(self.hedge)
        if not (self.breaker is None or self.breaker is False or isinstance(self.breaker, CircuitBreaker)):
            raise ConfigurationError(
                f"breaker is {repr(self.breaker)[:80]}; it must be a CircuitBreaker, such as "
                "CircuitBreaker(open_for=5), or False for none"
            )

    def over(self, before: GivenOptions) -> GivenOptions:
        """Return these options over others: what is not chosen here stays, and headers add up."""
        if before is NOTHING_GIVEN:
            return self
        chosen = [old if new is None else new for new, old in zip(self, before, strict=True)]
        if self.headers is not None and before.headers is not None:
            chosen[_HEADERS] = {**before.headers, **self.headers}
        return GivenOptions(*chosen)  # type: ignore[arg-type]

    def of_a_call(self, kind: FunctionKind, retry: RetryRefused | None) -> AnyOptions:
        """Return the options of a call of a function of that kind, by a client that retries so."""
        given, timeout, idempotent, key, persistent, inherit_deadline, again, headers, criticality = self[:9]
        report, hedge, breaker = self[10:]
        kind = given or kind
        if criticality is not None:
            kind, headers = critical(kind, criticality, headers)
        if report is not None or hedge is not None or breaker is not None:
            headers = with_rare_options(headers, report, hedge, breaker or None)
        return (
            kind,
            timeout,
            idempotent or False,
            key,
            persistent or False,
            inherit_deadline is not False,
            retry if again is None else again or None,
            headers,
        )


def with_rare_options(
    headers: Headers | None,
    on_progress: OnProgress | None,
    hedge: AnyHedge | None,
    breaker: CircuitBreaker | None = None,
) -> Headers | None:
    """Return what the options of a call have in the place of its headers.

    Raises:
        ConfigurationError: ``hedge`` has a wrong type or value.
    """
    policy = as_hedge(hedge) or None
    if on_progress is None and policy is None and breaker is None:
        return headers
    return RareOptions(headers, on_progress, policy, breaker)


_HEADERS = GivenOptions._fields.index("headers")
NOTHING_GIVEN = GivenOptions()
"""No option was chosen."""


def chosen_options(given: OptionArguments) -> GivenOptions:
    """Return options that were given as keyword arguments.

    Raises:
        TypeError: one is unknown.
        ConfigurationError: one has a wrong type or value.
    """
    unknown = given.keys() - set(GivenOptions._fields)
    if unknown:
        raise TypeError(f"unknown option {min(unknown)!r}: there are {', '.join(GivenOptions._fields)}")
    chosen = GivenOptions(**given)
    chosen.check()
    return chosen
