"""The limits of a service: the arguments of ``@register_call`` and ``add_service``, and their allowed values."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from rabibridge_core._concurrency.durations import as_seconds
from rabibridge_core._protocol.error_fields import restorers_of
from rabibridge_core._protocol.remote_errors import RemoteTraceback
from rabibridge_core._services.access import check_allowed
from rabibridge_core._services.auto import FetchSize, auto
from rabibridge_core._services.classes import check_classes
from rabibridge_core._services.rates import calls_per_second
from rabibridge_core.errors import RegistrationError, ServiceError
from rabibridge_core.transport import Delivery, QueueType

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import timedelta

__all__ = [
    "DEFAULT_FETCH_SIZE",
    "DEFAULT_REDELIVERY_LIMIT",
    "DEFAULT_SYNC_FETCH_SIZE",
    "FETCH_SIZE_MAX",
    "MAX_WAIT_QUEUE_SIZE",
    "FetchSize",
    "HandlerPlace",
    "ServiceLimits",
    "usable_cpus",
]

HandlerPlace: TypeAlias = Literal["loop", "thread", "process"]
"""Where the function of a service runs."""

DEFAULT_FETCH_SIZE = 256
"""Default ``fetch_size`` of an async service: it bounds the number of tasks when the queue is long."""

DEFAULT_SYNC_FETCH_SIZE = 32
"""Default ``fetch_size`` of a sync service, and its number of threads: each fetched request has a thread, so that no
request waits in this worker while another worker is idle."""

DEFAULT_REDELIVERY_LIMIT = 5
"""Default ``redelivery_limit``: enough for a rolling restart, and low enough to stop a call that kills its workers."""

MAX_WAIT_QUEUE_SIZE = 1_000
"""``queue_size`` of a service that has a ``max_wait`` and no bound of its own. It is the same for every ``max_wait``:
the arguments of a queue cannot be changed."""

FETCH_SIZE_MAX = 65535
_AHEAD_MIN = 4
"""Least default ``fetch_ahead`` with a limit of the wait: while some are refused, the next ones are on their way."""
_QUEUE_SIZE_MAX = 2**31 - 1
_TIMEOUT_MIN = 0.001
_TIMEOUT_MAX = 2**32 / 1000


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """The arguments of ``@register_call``, which describes them. ``None``, ``False`` or ``()`` means not given."""

    queue_size: int | None = None
    fetch_size: FetchSize | None = None
    timeout: float | timedelta | None = None
    validate: bool = False
    re_register: bool = False
    delivery: Delivery | None = None
    idempotent: bool = False
    redelivery_limit: int | None = None
    queue_type: QueueType | None = None
    fetch_ahead: int | None = None
    raises: tuple[type[ServiceError], ...] = ()
    classes: Mapping[str, int | None] | None = None
    resumable: bool = False
    executor: HandlerPlace | None = None
    max_calls_per_child: int | None = None
    run_timeout: float | timedelta | None = None
    remote_traceback: RemoteTraceback | None = None
    fair: bool = False
    allow: Collection[str] | None = None
    slow_call: float | timedelta | None = None
    deadline_admission: bool | None = None
    max_wait: float | timedelta | None = None
    rate: str | float | None = None

    @property
    def seconds(self) -> float | None:
        """The timeout in seconds."""
        return as_seconds(self.timeout)

    @property
    def bound(self) -> int | None:
        """How many calls may wait in the queue; ``None``: no limit."""
        return MAX_WAIT_QUEUE_SIZE if self.queue_size is None and self.max_wait is not None else self.queue_size

    def ahead(self, place: HandlerPlace) -> int:
        """Return how many calls a worker fetches ahead: with a limit of the wait as many as it runs.

        Those that wait here can be refused in time, and free slots find some that are in time.
        """
        at_most_once = self.delivery == "at-most-once"  # fetches ahead anyway
        if self.fetch_ahead is not None or self.max_wait is None or self.fair or at_most_once:
            return self.fetch_ahead or 0
        if not isinstance(size := self.fetch_size, int | None):
            return 0  # a worker that finds out how many to run finds out how many to fetch as well
        usual = {"process": usable_cpus(), "thread": DEFAULT_SYNC_FETCH_SIZE, "loop": DEFAULT_FETCH_SIZE}
        size = size or usual[place]
        return min(max(_AHEAD_MIN, size), FETCH_SIZE_MAX - size)

    def with_defaults(self, defaults: ServiceLimits | None) -> ServiceLimits:
        """Return these limits, with those that are not given taken from ``defaults``."""
        if defaults is None:
            return self
        bounded = self.queue_size is not None or self.classes is not None  # either says what bounds the service
        return ServiceLimits(
            self.queue_size if bounded else defaults.queue_size,
            defaults.fetch_size if self.fetch_size is None else self.fetch_size,
            defaults.timeout if self.timeout is None else self.timeout,
            self.validate or defaults.validate,
            self.re_register or defaults.re_register,
            self.delivery or defaults.delivery,
            self.idempotent or defaults.idempotent,
            defaults.redelivery_limit if self.redelivery_limit is None else self.redelivery_limit,
            self.queue_type or defaults.queue_type,
            defaults.fetch_ahead if self.fetch_ahead is None else self.fetch_ahead,
            self.raises or defaults.raises,
            self.classes if bounded else defaults.classes,
            self.resumable or defaults.resumable,
            self.executor or defaults.executor,
            defaults.max_calls_per_child if self.max_calls_per_child is None else self.max_calls_per_child,
            defaults.run_timeout if self.run_timeout is None else self.run_timeout,
            self.remote_traceback or defaults.remote_traceback,
            self.fair or defaults.fair,
            defaults.allow if self.allow is None else self.allow,
            defaults.slow_call if self.slow_call is None else self.slow_call,
            defaults.deadline_admission if self.deadline_admission is None else self.deadline_admission,
            defaults.max_wait if self.max_wait is None else self.max_wait,
            defaults.rate if self.rate is None else self.rate,
        )

    def check(self, name: str) -> None:
        """Check every limit of the service ``name``.

        Raises:
            RegistrationError: a limit is out of range, or two limits contradict each other.
        """
        for what in ("validate", "re_register", "idempotent", "resumable", "fair"):
            _check_bool(name, what, getattr(self, what))
        if self.deadline_admission is not None:
            _check_bool(name, "deadline_admission", self.deadline_admission)
        _check_int(name, "queue_size", self.queue_size, 0, _QUEUE_SIZE_MAX)
        fixed = None if isinstance(self.fetch_size, auto) or self.fetch_size == "auto" else self.fetch_size
        _check_int(name, "fetch_size", fixed, 1, FETCH_SIZE_MAX, or_else="'auto', or auto(min, max)")
        _check_seconds(name, "timeout", self.timeout)
        _check_seconds(name, "run_timeout", self.run_timeout)
        _check_seconds(name, "slow_call", self.slow_call)
        _check_seconds(name, "max_wait", self.max_wait)
        ahead_max = FETCH_SIZE_MAX - (fixed or DEFAULT_FETCH_SIZE)
        _check_int(name, "fetch_ahead", self.fetch_ahead, 0, ahead_max)
        _check_int(name, "redelivery_limit", self.redelivery_limit, 0, 1_000_000)
        _check_choice(name, "delivery", self.delivery, get_args(Delivery))
        _check_int(name, "max_calls_per_child", self.max_calls_per_child, 1, 2**31 - 1)
        _check_choice(name, "executor", self.executor, get_args(HandlerPlace))
        _check_choice(name, "queue_type", self.queue_type, get_args(QueueType))
        _check_choice(name, "remote_traceback", self.remote_traceback, get_args(RemoteTraceback))
        _check_raises(name, self.raises)
        check_allowed(name, self.allow)
        calls_per_second(name, self.rate)
        check_classes(name, self.classes, self.queue_size)
        if self.fair and self.classes is not None:
            raise RegistrationError(
                f"service {name!r}: fair=True shares the places among callers, classes= among classes of calls; choose "
                "one of them"
            )
        if self.executor == "process" and fixed is not self.fetch_size:
            raise RegistrationError(
                f"service {name!r}: fetch_size={self.fetch_size!r} cannot be combined with executor='process', where "
                "each call has a processor of its own: leave fetch_size out, which means the number of CPUs"
            )
        if self.fetch_ahead and self.delivery == "at-most-once":
            raise RegistrationError(
                f"service {name!r}: fetch_ahead cannot be combined with delivery='at-most-once', which always fetches "
                "ahead; leave fetch_ahead out"
            )
        if self.idempotent and self.delivery == "at-most-once":
            raise RegistrationError(
                f"service {name!r}: idempotent=True allows a call to run twice, delivery='at-most-once' forbids it; "
                "choose one of them"
            )
        if self.resumable and self.delivery == "at-most-once":
            raise RegistrationError(
                f"service {name!r}: resumable=True lets a stream run in several parts, delivery='at-most-once' forbids "
                "it; choose one of them"
            )


def _check_raises(name: str, raises: object) -> None:
    if not isinstance(raises, tuple | list) or not all(map(_is_declared, raises)):
        raise RegistrationError(
            f"service {name!r}: raises is {repr(raises)[:120]}; it must be a tuple of subclasses of ServiceError, each "
            "with a code, as in raises=(OutOfStock,)"
        )
    codes = [cls.code for cls in raises]
    if len(set(codes)) < len(set(raises)):
        raise RegistrationError(f"service {name!r}: two classes in raises have one code: {', '.join(codes)}")
    for cls in raises:
        restorers_of(cls)  # an annotation that cannot be used is an error here, not at the first call that fails


def _is_declared(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, ServiceError) and bool(cls.code)


def _check_bool(name: str, what: str, value: object) -> None:
    if not isinstance(value, bool):
        raise RegistrationError(f"service {name!r}: {what} is {value!r}; it must be True or False")


def _check_choice(name: str, what: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        choices = " or ".join((", ".join(map(repr, allowed[:-1])), repr(allowed[-1])))
        raise RegistrationError(f"service {name!r}: {what} is {value!r}; it must be {choices}")


def _check_seconds(name: str, what: str, value: float | timedelta | None) -> None:
    seconds = as_seconds(value)
    if value is not None and (seconds is None or not _TIMEOUT_MIN <= seconds <= _TIMEOUT_MAX):
        raise RegistrationError(
            f"service {name!r}: {what} is {value!r}; it must be a number of seconds from 0.001 to 4294967, a "
            "timedelta, or None for no limit"
        )


def _check_int(name: str, what: str, value: object, low: int, high: int, *, or_else: str = "") -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high):
        raise RegistrationError(
            f"service {name!r}: {what} is {value!r}; it must be a whole number from {low} to {high}"
            + (f", {or_else}" if or_else else "")
        )


def usable_cpus() -> int:
    """Return how many CPUs this process may use: the default ``fetch_size`` of a service that runs in processes."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
