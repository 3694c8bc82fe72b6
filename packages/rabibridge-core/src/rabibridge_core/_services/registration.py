"""``@register_call``: marks functions as services, and finds the marked ones."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rabibridge_core.transport import Delivery, QueueType

__all__ = ["register_call", "registered_limits", "services_in"]

_MARK = "__rabibridge_limits__"

P = ParamSpec("P")
R = TypeVar("R")


@overload
def register_call(queue_size: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def register_call(
    queue_size: int | None = None,
    fetch_size: int | None = None,
    timeout: float | None = None,
    *,
    validate: bool = False,
    re_register: bool = False,
    delivery: Delivery | None = None,
    idempotent: bool = False,
    redelivery_limit: int | None = None,
    queue_type: QueueType | None = None,
    fetch_ahead: int | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def register_call(
    queue_size: int | Callable[..., Any] | None = None,
    fetch_size: int | None = None,
    timeout: float | None = None,
    *,
    validate: bool = False,
    re_register: bool = False,
    delivery: Delivery | None = None,
    idempotent: bool = False,
    redelivery_limit: int | None = None,
    queue_type: QueueType | None = None,
    fetch_ahead: int | None = None,
) -> Any:
    """Mark a function, async or not, as one that can be called remotely.

    It works bare (``@register_call``) and called (``@register_call(queue_size=100)``). The function itself is returned:
    calling it locally is as before. A server takes it up by ``load_services``, ``load_plugins`` or ``add_service``.

    Args:
        queue_size: how many calls may wait for a worker; one more is refused at once with QueueFullError. ``None``: no
            limit, the queue then grows as long as the broker has room. With 0 every call is refused, even while workers
            are idle: RabbitMQ hands none over without queueing it.
        fetch_size: how many calls one worker process holds at a time, running or about to run. The smaller, the better
            the backend is protected. ``None``: 256, or 32 where the function is not async.
        timeout: how long a call may wait in the queue, in seconds; a call that waited longer is dropped and its caller
            gets CallTimeoutError from its own timeout. ``None``: no limit.
        validate: check (and convert) the arguments against the annotations with pydantic before the function runs; what
            does not fit is answered with InvalidArgumentsError.
        re_register: where the queue exists on the broker with other limits, delete it together with the calls that wait
            in it and declare it anew. Not for several workers that start at once. Without it, such a queue is a
            ConfigurationError when the server connects.
        delivery: ``"at-least-once"`` (the default): a call is acknowledged after its reply was sent, so that a worker
            that dies loses nothing, but another may run the call a second time. ``"at-most-once"``: it is acknowledged
            before the function starts and never runs twice; if its worker dies, the caller gets ConnectionLostError
            or CallTimeoutError and cannot know whether it ran.
        idempotent: running it twice does no harm. Callers then send it again by themselves after a lost connection,
            within its timeout, once they have had a reply from this service; and a worker that still runs it, or has
            answered it within the last minute, answers again without running it. Not with at-most-once.
        redelivery_limit: how often a call may be given to a worker again because the one before died or lost its
            connection. Then its caller gets RemoteExecutionError and the call goes to the queue ``rpc.dead``, with the
            reason in its headers. ``None``: 5.
        queue_type: ``"classic"``, or ``"quorum"``: replicated over the nodes of a cluster, and on disk. ``None``: as
            the server is configured, which is classic unless told otherwise. A queue cannot change its type.
        fetch_ahead: how many more calls one worker process holds, which wait there until one of the ``fetch_size``
            places is free and then begin at once, not a round trip to the broker later. A quarter of ``fetch_size`` is
            enough. It is for functions that take milliseconds: what one worker holds no other can take, so with
            functions that take seconds it makes calls wait that an idle worker could run. ``None``: 0.

    Raises:
        RegistrationError: the function or the limits cannot be used, when the function is defined.
    """
    if callable(queue_size):
        return _mark(queue_size, ServiceLimits())
    limits = ServiceLimits(
        queue_size, fetch_size, timeout, validate, re_register, delivery, idempotent, redelivery_limit, queue_type,
        fetch_ahead,
    )  # fmt: skip

    def decorate(func: Callable[P, R]) -> Callable[P, R]:
        return _mark(func, limits)

    return decorate


def registered_limits(func: object) -> ServiceLimits | None:
    """Return the limits that ``@register_call`` was given for ``func``; ``None``: it was never decorated."""
    if inspect.ismethod(func):
        func = func.__func__
    found = inspect.getattr_static(func, _MARK, None)  # static: a lazy proxy among the symbols is not woken up
    return found if isinstance(found, ServiceLimits) else None


def _mark(func: Callable[P, R], limits: ServiceLimits) -> Callable[P, R]:
    ServiceSchema.of(func, limits)
    setattr(func, _MARK, limits)
    return func


def services_in(symbols: Mapping[str, object]) -> list[ServiceSchema]:
    """Return a service for every marked function of the mapping; one function under two names counts once."""
    found: dict[int, ServiceSchema] = {}
    for value in symbols.values():
        limits = None if isinstance(value, type) else registered_limits(value)
        if limits is not None and callable(value):
            found[id(value)] = ServiceSchema.of(value, limits)
    return list(found.values())
