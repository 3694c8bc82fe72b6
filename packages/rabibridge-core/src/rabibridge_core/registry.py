"""Which functions are services, and with which limits."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeAlias, TypeVar, get_args, overload

from rabibridge_core.errors import ConfigurationError, RegistrationError
from rabibridge_core.naming import check_service_name, queue_name, routing_keys
from rabibridge_core.transport import ServiceQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "DEFAULT_FETCH_SIZE",
    "DEFAULT_REDELIVERY_LIMIT",
    "DEFAULT_SYNC_FETCH_SIZE",
    "Delivery",
    "QueueType",
    "Registration",
    "Registry",
    "ServiceSchema",
    "register_call",
    "registration_of",
    "services_in",
]

DEFAULT_FETCH_SIZE = 256
"""How many calls of an async service one worker holds where ``fetch_size`` is not given: a bound, so that a long queue
never becomes as many tasks."""

DEFAULT_SYNC_FETCH_SIZE = 32
"""The same for a service that is not async, and how many threads it then has: what is in hand runs, nothing waits in
this worker for a thread while another worker is idle."""

DEFAULT_REDELIVERY_LIMIT = 5
"""How often a call is given to a worker again where ``redelivery_limit`` is not given: enough for a rolling restart,
few enough that a call that kills its worker does not kill them all day."""

Delivery: TypeAlias = Literal["at-least-once", "at-most-once"]
QueueType: TypeAlias = Literal["classic", "quorum"]

_AHEAD = 16
"""How many requests of an at-most-once service a worker holds that have not begun: they are settled when they begin."""
_MARK = "__rabibridge_registration__"
_FETCH_SIZE_MAX = 65535
_QUEUE_SIZE_MAX = 2**31 - 1

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Registration:
    """What ``@register_call`` was given."""

    queue_size: int | None = None
    fetch_size: int | None = None
    timeout: float | None = None
    validate: bool = False
    re_register: bool = False
    delivery: Delivery | None = None
    idempotent: bool = False
    redelivery_limit: int | None = None
    queue_type: QueueType | None = None
    fetch_ahead: int | None = None

    def over(self, other: Registration | None) -> Registration:
        """Return this one, with what it leaves out (``None`` or ``False``) taken from ``other``."""
        if other is None:
            return self
        return Registration(
            other.queue_size if self.queue_size is None else self.queue_size,
            other.fetch_size if self.fetch_size is None else self.fetch_size,
            other.timeout if self.timeout is None else self.timeout,
            self.validate or other.validate,
            self.re_register or other.re_register,
            self.delivery or other.delivery,
            self.idempotent or other.idempotent,
            other.redelivery_limit if self.redelivery_limit is None else self.redelivery_limit,
            self.queue_type or other.queue_type,
            other.fetch_ahead if self.fetch_ahead is None else self.fetch_ahead,
        )


@dataclass(frozen=True, slots=True)
class ServiceSchema:
    """One service: a function and its limits.

    Attributes:
        name: what callers call it.
        func_ptr: the function.
        queue_size: how many calls may wait; one more is refused with QueueFullError. ``None``: no limit.
        fetch_size: how many calls one worker holds at a time, besides ``fetch_ahead``. ``None``:
            :data:`DEFAULT_FETCH_SIZE`, or :data:`DEFAULT_SYNC_FETCH_SIZE` where the function is not async.
        timeout: how long a call may wait in the queue, in seconds. ``None``: no limit.
        re_register: delete a queue that exists with other limits and declare it anew.
        validate: check the arguments against the annotations before the call.
        is_async: whether the function is a coroutine function; others run in a thread.
        queue_name: the queue on the broker.
        delivery: ``"at-least-once"``: acknowledged after the reply; ``"at-most-once"``: before the function starts.
        idempotent: whether to run it twice does no harm: callers send it again after a lost connection.
        redelivery_limit: how often a call may be given to a worker again; then it is dead-lettered.
        queue_type: ``"classic"`` or ``"quorum"``; ``None``: as the server is configured.
        fetch_ahead: how many calls one worker holds besides, which wait for a place.
    """

    name: str
    func_ptr: Callable[..., Any]
    queue_size: int | None
    fetch_size: int | None
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

    @classmethod
    def of(cls, func_ptr: Callable[..., Any], options: Registration) -> ServiceSchema:
        """Check everything and return the service.

        Raises:
            RegistrationError: the function or its limits cannot be used.
        """
        if not callable(func_ptr):
            raise RegistrationError(f"{func_ptr!r} cannot be called: a service is a function")
        if inspect.isasyncgenfunction(func_ptr) or inspect.isgeneratorfunction(func_ptr):
            raise RegistrationError(f"{_place(func_ptr)} is a generator: a service returns one result")
        try:
            name = check_service_name(getattr(func_ptr, "__name__", None))
        except ConfigurationError as error:
            raise RegistrationError(f"{_place(func_ptr)} cannot be a service: {error}") from None
        _check_limits(name, options)
        is_async = inspect.iscoroutinefunction(func_ptr) or inspect.iscoroutinefunction(
            getattr(func_ptr, "__call__", None)  # noqa: B004 - whether calling an instance gives a coroutine
        )
        return cls(
            name=name,
            func_ptr=func_ptr,
            queue_size=options.queue_size,
            fetch_size=options.fetch_size,
            timeout=options.timeout,
            re_register=options.re_register,
            validate=options.validate,
            is_async=is_async,
            queue_name=queue_name(name, is_async=is_async),
            delivery=options.delivery or "at-least-once",
            idempotent=options.idempotent,
            redelivery_limit=(
                DEFAULT_REDELIVERY_LIMIT if options.redelivery_limit is None else options.redelivery_limit
            ),
            queue_type=options.queue_type,
            fetch_ahead=options.fetch_ahead or 0,
        )

    @property
    def concurrency(self) -> int:
        """How many calls one worker runs at a time."""
        return self.fetch_size or (DEFAULT_FETCH_SIZE if self.is_async else DEFAULT_SYNC_FETCH_SIZE)

    @property
    def queue(self) -> ServiceQueue:
        """The queue as a value for the transport."""
        once = self.delivery == "at-most-once"
        return ServiceQueue(
            name=self.queue_name,
            routing_keys=routing_keys(self.name, is_async=self.is_async),
            queue_size=self.queue_size,
            fetch_size=min(self.concurrency, _AHEAD) if once else self.concurrency + self.fetch_ahead,
            timeout=self.timeout,
            queue_type=self.queue_type or "classic",
            redeclare=self.re_register,
            redelivery_limit=None if once else self.redelivery_limit,
        )


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
        return _mark(queue_size, Registration())
    options = Registration(
        queue_size, fetch_size, timeout, validate, re_register, delivery, idempotent, redelivery_limit, queue_type,
        fetch_ahead,
    )  # fmt: skip

    def decorate(func: Callable[P, R]) -> Callable[P, R]:
        return _mark(func, options)

    return decorate


def registration_of(func: object) -> Registration | None:
    """Return what ``@register_call`` was given for ``func``, or ``None`` if it was never decorated."""
    if inspect.ismethod(func):
        func = func.__func__
    found = inspect.getattr_static(func, _MARK, None)  # static: a lazy proxy among the symbols is not woken up
    return found if isinstance(found, Registration) else None


def _mark(func: Callable[P, R], options: Registration) -> Callable[P, R]:
    ServiceSchema.of(func, options)
    setattr(func, _MARK, options)
    return func


class Registry:
    """The services of one server, by name."""

    def __init__(self) -> None:
        """Start with none."""
        self._services: dict[str, ServiceSchema] = {}

    def add(self, schema: ServiceSchema) -> None:
        """Add a service; adding the same function with the same limits again does no harm.

        Raises:
            RegistrationError: another function, or the same with other limits, has that name.
        """
        known = self._services.get(schema.name)
        if known is not None and known != schema:
            if known.func_ptr is schema.func_ptr:
                raise RegistrationError(f"{_place(schema.func_ptr)} is already served with other limits: {known}")
            raise RegistrationError(
                f"two functions want to be the service {schema.name!r}: {_place(known.func_ptr)} "
                f"and {_place(schema.func_ptr)}; rename one"
            )
        self._services[schema.name] = schema

    def replace(self, schema: ServiceSchema) -> None:
        """Put another function or other limits under a name."""
        self._services[schema.name] = schema

    def remove(self, name: str) -> None:
        """Forget a service; without effect if there is none."""
        self._services.pop(name, None)

    def __iter__(self) -> Iterator[ServiceSchema]:
        """Go through the services in the order in which they were added."""
        return iter(list(self._services.values()))

    def __len__(self) -> int:
        """Return how many services there are."""
        return len(self._services)

    def __contains__(self, name: object) -> bool:
        """Tell whether a service has that name."""
        return name in self._services

    def get(self, name: str) -> ServiceSchema | None:
        """Return the service of that name."""
        return self._services.get(name)


def services_in(symbols: Mapping[str, object]) -> list[ServiceSchema]:
    """Return a service for every function of the mapping that is marked; one function under two names counts once."""
    found: dict[int, ServiceSchema] = {}
    for value in symbols.values():
        options = None if isinstance(value, type) else registration_of(value)
        if options is not None and callable(value):
            found[id(value)] = ServiceSchema.of(value, options)
    return list(found.values())


def _check_limits(name: str, options: Registration) -> None:
    queue_size, fetch_size, timeout = options.queue_size, options.fetch_size, options.timeout
    _check_int(name, "queue_size", queue_size, 0, _QUEUE_SIZE_MAX)
    _check_int(name, "fetch_size", fetch_size, 1, _FETCH_SIZE_MAX)
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0.001 <= timeout <= 2**32 / 1000
    ):
        raise RegistrationError(f"service {name!r}: timeout is {timeout!r}, it is seconds, from 0.001 to 4294967")
    _check_int(name, "fetch_ahead", options.fetch_ahead, 0, _FETCH_SIZE_MAX - (fetch_size or DEFAULT_FETCH_SIZE))
    _check_int(name, "redelivery_limit", options.redelivery_limit, 0, 1_000_000)
    _check_choice(name, "delivery", options.delivery, get_args(Delivery))
    _check_choice(name, "queue_type", options.queue_type, get_args(QueueType))
    if options.fetch_ahead and options.delivery == "at-most-once":
        raise RegistrationError(f"service {name!r}: fetch_ahead is for at-least-once, at-most-once always does it")
    if options.idempotent and options.delivery == "at-most-once":
        raise RegistrationError(
            f"service {name!r}: idempotent=True says that it may run twice, delivery='at-most-once' that it must not"
        )


def _check_choice(name: str, what: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise RegistrationError(f"service {name!r}: {what} is {value!r}, it is one of {', '.join(allowed)}")


def _check_int(name: str, what: str, value: int | None, low: int, high: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high):
        raise RegistrationError(f"service {name!r}: {what} is {value!r}, it is a whole number from {low} to {high}")


def _place(func: Any) -> str:
    code = getattr(inspect.unwrap(func) if callable(func) else func, "__code__", None)
    name = getattr(func, "__qualname__", None) or repr(func)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code is not None else str(name)
