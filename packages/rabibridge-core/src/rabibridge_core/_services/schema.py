"""One service: a function, its name, its queue and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rabibridge_core._concurrency.durations import as_seconds
from rabibridge_core._protocol.naming import check_service_name, of_class, queue_name, routing_keys
from rabibridge_core._services.auto import START, as_fetch_size, auto
from rabibridge_core._services.callables import is_generator, place_of, refuse_what_cannot_be_served, runs_on_loop
from rabibridge_core._services.classes import classes_of, slots_of
from rabibridge_core._services.limits import (
    DEFAULT_FETCH_SIZE,
    DEFAULT_REDELIVERY_LIMIT,
    DEFAULT_SYNC_FETCH_SIZE,
    FETCH_SIZE_MAX,
    ServiceLimits,
    usable_cpus,
)
from rabibridge_core._services.places import handler_place
from rabibridge_core._services.rates import calls_per_second
from rabibridge_core._services.streams import check_resumable, upload_parameters
from rabibridge_core.errors import ConfigurationError, RegistrationError
from rabibridge_core.transport import ServiceQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._protocol.remote_errors import RemoteTraceback
    from rabibridge_core._services.access import Policy
    from rabibridge_core._services.classes import Classes
    from rabibridge_core._services.injection import Injections
    from rabibridge_core._services.limits import FetchSize, HandlerPlace
    from rabibridge_core.errors import ServiceError
    from rabibridge_core.transport import Delivery, QueueType

__all__ = ["ServiceSchema"]

_AT_MOST_ONCE_PREFETCH = 16
"""Prefetch limit of at-most-once services: requests are acknowledged only when their handler starts, so unstarted ones
accumulate up to this number."""
_FAIR_SURPLUS = 512
"""How many more requests a worker with a fair queue fetches than may run and wait: it refuses them when they arrive, so
that a burst of one caller does not fill the queue on the broker for all others."""


@dataclass(frozen=True, slots=True)
class ServiceSchema:
    """One service: a function and its limits.

    Attributes:
        name: the name that clients call.
        func_ptr: the function.
        queue_size: maximum number of calls in the queue; more are refused with QueueFullError. ``None``: no limit. That
            of the first class, if there are classes.
        fetch_size: maximum number of calls that one worker runs at a time, or bounds of it. ``None``:
            :data:`DEFAULT_FETCH_SIZE`, or :data:`DEFAULT_SYNC_FETCH_SIZE` if the function runs in threads, or the
            number of CPUs if in processes.
        timeout: maximum time in seconds that a call may wait in the queue. ``None``: no limit.
        re_register: whether to delete and redeclare a queue that exists with different limits.
        validate: whether to check the arguments by the annotations before the function runs.
        is_async: whether the function is a coroutine or async generator function.
        queue_name: the name of the queue on the broker.
        delivery: ``"at-least-once"``: acknowledged after the reply; ``"at-most-once"``: before the function starts.
        idempotent: whether running a call twice does no harm; clients send it again after a lost connection.
        redelivery_limit: how many times a call may be delivered again before it is dead-lettered.
        queue_type: ``"classic"`` or ``"quorum"``; ``None``: the server's setting.
        fetch_ahead: number of calls that one worker fetches in addition to those that it runs.
        raises: the errors that the function raises on purpose, which belong to its interface.
        classes: the classes of criticality and the bounds of their queues, the most important first; empty: none.
        streams: whether the function is a generator function, async or not: its items are streamed.
        resumable: whether another worker can go on with a stream that has broken off.
        uploads: the parameters that callers can feed with items.
        executor: where the function runs; ``None``: on the event loop if it is async, else in a thread.
        max_calls_per_child: how many calls a child process runs before it is replaced; ``None``: no limit.
        run_timeout: how long a call may run, in seconds; ``None``: the server's setting.
        remote_traceback: what callers are told of an exception; ``None``: the server's setting.
        fair: whether the places are shared among callers.
        allow: the users of the broker that may call it; ``None``: everybody.
        slow_call: after how many seconds the stack of a call is logged; ``None``: the server's setting.
        deadline_admission: whether calls that cannot end in their time are refused; ``None``: the server's setting.
        max_wait: how long a call may have waited when it starts, in seconds; ``None``: no limit.
        rate: how many calls may start in one second, on all workers together; ``None``: no limit.
        policy: what decides which calls are admitted, besides; ``None``: nothing, or the service was not added yet.
        injections: the parameters that the server fills in; ``None``: none, or the service was not added yet.
    """

    name: str
    func_ptr: Callable[..., Any]
    queue_size: int | None
    fetch_size: int | auto | None
    timeout: float | None
    re_register: bool
    validate: bool
    is_async: bool
    queue_name: str
    delivery: Delivery = "at-least-once"
    idempotent: bool = False
    redelivery_limit: int = DEFAULT_REDELIVERY_LIMIT
    queue_type: QueueType | None = None
    fetch_ahead: int = 0
    raises: tuple[type[ServiceError], ...] = ()
    classes: Classes = ()
    streams: bool = False
    resumable: bool = False
    uploads: tuple[str, ...] = ()
    executor: HandlerPlace | None = None
    max_calls_per_child: int | None = None
    run_timeout: float | None = None
    remote_traceback: RemoteTraceback | None = None
    fair: bool = False
    allow: tuple[str, ...] | None = None
    slow_call: float | None = None
    deadline_admission: bool | None = None
    max_wait: float | None = None
    rate: float | None = None

    policy: Policy | None = field(default=None, compare=False, repr=False)
    injections: Injections | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Let an async function run on the event loop, and any other one in a thread, unless it says where."""
        if self.executor is None:
            object.__setattr__(self, "executor", "loop" if self.is_async else "thread")

    @classmethod
    def of(cls, func_ptr: Callable[..., Any], limits: ServiceLimits, name: str | None = None) -> ServiceSchema:
        """Return the service that offers ``func_ptr`` with these limits, under ``name`` or that of the function.

        Raises:
            RegistrationError: the function cannot be a service, or a limit is out of range.
        """
        refuse_what_cannot_be_served(func_ptr)
        try:
            name = check_service_name(getattr(func_ptr, "__name__", None) if name is None else name)
        except ConfigurationError as error:
            way_out = "" if name is not None else "; give it one: name=..."
            raise RegistrationError(f"{place_of(func_ptr)} cannot be a service: {error}{way_out}") from None
        limits.check(name)
        classes = classes_of(limits.classes)
        on_loop, place = runs_on_loop(func_ptr), handler_place(func_ptr, name, limits)
        usual = place == ("loop" if on_loop else "thread")  # elsewhere, an iterable is a value as any other
        if limits.resumable:
            check_resumable(func_ptr)
        return cls(
            name=name,
            func_ptr=func_ptr,
            queue_size=classes[0][1] if classes else limits.bound,
            fetch_size=as_fetch_size(limits.fetch_size),
            timeout=limits.seconds,
            re_register=limits.re_register,
            validate=limits.validate,
            is_async=on_loop,
            queue_name=queue_name(name, is_async=on_loop),
            delivery=limits.delivery or "at-least-once",
            idempotent=limits.idempotent,
            redelivery_limit=(DEFAULT_REDELIVERY_LIMIT if limits.redelivery_limit is None else limits.redelivery_limit),
            queue_type=limits.queue_type,
            fetch_ahead=limits.ahead(place),
            raises=tuple(limits.raises),
            classes=classes,
            streams=is_generator(func_ptr),
            resumable=limits.resumable,
            uploads=upload_parameters(func_ptr, on_loop=on_loop) if usual else (),
            executor=place,
            max_calls_per_child=limits.max_calls_per_child,
            run_timeout=as_seconds(limits.run_timeout),
            remote_traceback=limits.remote_traceback,
            fair=limits.fair,
            allow=None if limits.allow is None else tuple(limits.allow),
            slow_call=as_seconds(limits.slow_call),
            deadline_admission=limits.deadline_admission,
            max_wait=as_seconds(limits.max_wait),
            rate=calls_per_second(name, limits.rate),
        )

    def with_limits(
        self,
        *,
        fetch_size: FetchSize | None = None,
        fetch_ahead: int | None = None,
        validate: bool | None = None,
        idempotent: bool | None = None,
        redelivery_limit: int | None = None,
        rate: str | float | None = None,
    ) -> ServiceSchema:
        """Return the service with other limits of those that live on a worker; ``None``: as it is.

        Raises:
            RegistrationError: a limit is out of range, or contradicts another one.
        """
        limits = ServiceLimits(
            fetch_size=self.fetch_size if fetch_size is None else fetch_size,
            fetch_ahead=self.fetch_ahead if fetch_ahead is None else fetch_ahead,
            validate=self.validate if validate is None else validate,
            idempotent=self.idempotent if idempotent is None else idempotent,
            redelivery_limit=self.redelivery_limit if redelivery_limit is None else redelivery_limit,
            delivery=self.delivery,
            resumable=self.resumable,
            executor=self.executor,
            rate=self.rate if rate is None else rate,
        )
        limits.check(self.name)
        return replace(
            self,
            fetch_size=as_fetch_size(limits.fetch_size),
            fetch_ahead=limits.fetch_ahead or 0,
            validate=limits.validate,
            idempotent=limits.idempotent,
            redelivery_limit=DEFAULT_REDELIVERY_LIMIT if limits.redelivery_limit is None else limits.redelivery_limit,
            rate=calls_per_second(self.name, limits.rate),
        )

    @property
    def concurrency(self) -> int:
        """Maximum number of calls that one worker runs at a time; that at the start, if it finds out."""
        if (bounds := self.bounds) is not None:
            return min(max(START, bounds[0]), bounds[1])
        return self.most

    @property
    def most(self) -> int:
        """Maximum number of calls that one worker ever runs at a time."""
        if (bounds := self.bounds) is not None:
            return bounds[1]
        assert not isinstance(self.fetch_size, auto)
        if self.fetch_size is None and self.executor == "process":
            return usable_cpus()
        return self.fetch_size or (DEFAULT_SYNC_FETCH_SIZE if self.executor == "thread" else DEFAULT_FETCH_SIZE)

    @property
    def fair_places(self) -> int | None:
        """How many calls wait in the workers, which refuse those of who has the most; ``None``: the broker refuses."""
        shares = self.fair and not self.fetch_ahead and self.delivery == "at-least-once" and self.bounds is None
        return self.queue_size or None if shares else None

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Between which numbers of calls a worker finds out how many to run at a time; ``None``: it does not."""
        return self.fetch_size.bounds(self.executor) if isinstance(self.fetch_size, auto) else None

    def fetching(self, running: int, ahead: int) -> ServiceSchema:
        """Return the service with the queues for a worker that runs so many calls, and fetches so many more."""
        if self.delivery == "at-most-once":  # where calls that run are settled
            return replace(self, fetch_size=self.most)
        ahead = max(ahead, self.fetch_ahead, running if self.fair else 0)
        return replace(self, fetch_size=running, fetch_ahead=min(ahead, FETCH_SIZE_MAX - running))

    @property
    def queue(self) -> ServiceQueue:
        """The queue of the service, for the transport."""
        if self.bounds is not None:
            return self.fetching(self.concurrency, self.concurrency).queue
        at_most_once = self.delivery == "at-most-once"
        prefetch = self.concurrency + self.fetch_ahead
        if self.fair and not self.fetch_ahead:
            ahead = self.concurrency if (places := self.fair_places) is None else places + _FAIR_SURPLUS
            prefetch = min(self.concurrency + ahead, FETCH_SIZE_MAX)
        if at_most_once:
            prefetch = min(self.concurrency, _AT_MOST_ONCE_PREFETCH)
        keys = routing_keys(self.name, is_async=self.is_async)
        return ServiceQueue(
            name=self.queue_name,
            routing_keys=keys,
            queue_size=self.queue_size,
            fetch_size=prefetch,
            timeout=self.timeout,
            queue_type=self.queue_type or "classic",
            redeclare=self.re_register,
            redelivery_limit=None if at_most_once else self.redelivery_limit,
            any_keys=keys[1:],
            other_queue=queue_name(self.name, is_async=not self.is_async),
            preferred=self.is_async,
            streams=self.streams or bool(self.uploads),
        )

    @property
    def queues(self) -> tuple[ServiceQueue, ...]:
        """The queues of the classes, in their order, for the transport; one, if there are no classes.

        That of the first class is the queue of the service, which its name leads to as well: callers that name no class
        get it, and callers of versions that know of none.
        """
        if self.bounds is not None:
            return self.fetching(self.concurrency, self.concurrency).queues
        own = self.queue
        if not self.classes:
            return (own,)
        keys = [tuple(of_class(key, name) for key in own.routing_keys) for name, _ in self.classes]
        first = replace(own, routing_keys=(*own.routing_keys, *keys[0]), any_keys=(*own.any_keys, *keys[0][1:]))
        return (first, *(self._queue_of_class(own, index, keys[index]) for index in range(1, len(keys))))

    def _queue_of_class(self, own: ServiceQueue, index: int, keys: tuple[str, ...]) -> ServiceQueue:
        name, bound = self.classes[index]
        prefetch = min(slots_of(index, self.concurrency) + self.fetch_ahead, own.fetch_size)
        other = None if own.other_queue is None else of_class(own.other_queue, name)
        named = replace(own, name=of_class(own.name, name), routing_keys=keys, any_keys=keys[1:], other_queue=other)
        return replace(named, queue_size=bound, fetch_size=prefetch)
