"""``@register_call``, which marks functions as services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.marks import mark

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import timedelta

    from rabibridge_core._protocol.remote_errors import RemoteTraceback
    from rabibridge_core._services.limits import FetchSize, HandlerPlace
    from rabibridge_core.errors import ServiceError
    from rabibridge_core.transport import Delivery, QueueType

__all__ = ["register_call"]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def register_call(func: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def register_call(
    queue_size: int | None = None,
    fetch_size: FetchSize | None = None,
    timeout: float | timedelta | None = None,
    *,
    name: str | None = None,
    validate: bool = False,
    re_register: bool = False,
    delivery: Delivery | None = None,
    idempotent: bool = False,
    redelivery_limit: int | None = None,
    queue_type: QueueType | None = None,
    fetch_ahead: int | None = None,
    raises: tuple[type[ServiceError], ...] = (),
    classes: Mapping[str, int | None] | None = None,
    resumable: bool = False,
    executor: HandlerPlace | None = None,
    max_calls_per_child: int | None = None,
    run_timeout: float | timedelta | None = None,
    remote_traceback: RemoteTraceback | None = None,
    fair: bool = False,
    allow: Collection[str] | None = None,
    slow_call: float | timedelta | None = None,
    deadline_admission: bool | None = None,
    max_wait: float | timedelta | None = None,
    rate: str | float | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def register_call(
    queue_size: int | Callable[..., Any] | None = None,
    fetch_size: FetchSize | None = None,
    timeout: float | timedelta | None = None,
    *,
    name: str | None = None,
    validate: bool = False,
    re_register: bool = False,
    delivery: Delivery | None = None,
    idempotent: bool = False,
    redelivery_limit: int | None = None,
    queue_type: QueueType | None = None,
    fetch_ahead: int | None = None,
    raises: tuple[type[ServiceError], ...] = (),
    classes: Mapping[str, int | None] | None = None,
    resumable: bool = False,
    executor: HandlerPlace | None = None,
    max_calls_per_child: int | None = None,
    run_timeout: float | timedelta | None = None,
    remote_traceback: RemoteTraceback | None = None,
    fair: bool = False,
    allow: Collection[str] | None = None,
    slow_call: float | timedelta | None = None,
    deadline_admission: bool | None = None,
    max_wait: float | timedelta | None = None,
    rate: str | float | None = None,
) -> Any:
    """Mark a function as a service, which clients can call remotely.

    Use it bare (``@register_call``) or with limits (``@register_call(queue_size=100, timeout=5)``). The function is
    returned unchanged, so local calls work as before. A server offers it after ``load_services``, ``load_plugins`` or
    ``add_service``; the service has the name of the function, or ``name``.

    An ``async def`` function runs on the event loop of the server. Any other function runs in a thread, unless
    ``executor`` says otherwise. That holds for the function in a ``functools.partial``, and for the ``__call__`` of an
    object, too. A generator function, of either kind, streams: its caller gets what it yields, item by item, and its
    ``yield`` waits while the caller does not keep up. A call counts against ``fetch_size`` as long as its stream runs.

    The decorator belongs on top of other decorators, so that what they make of the function is served. It works on
    functions, static methods, class methods and methods; a method is offered for one object, by
    ``add_service(MyClass().method)``. A function that is decorated several times, each time with another ``name``, is
    several services.

    Example::

        @register_call(queue_size=100, fetch_size=10, timeout=5)
        async def add(a: int, b: int) -> int:
            return a + b

    Args:
        queue_size: maximum number of calls that wait in the queue of the service. Further calls are refused at once
            with QueueFullError. ``None`` (the default): no limit; the queue grows as long as the broker has room.
            0 refuses every call, even while workers are idle, as RabbitMQ delivers no message without queueing it.
        fetch_size: maximum number of calls that one worker process runs at a time. A small value protects the
            resources behind the service. ``"auto"``, or ``auto(min, max)``: the worker finds out, from how long calls
            take; see docs/overload.md. ``None`` (the default): what the setting ``fetch_size`` says, which is 256, or
            32 for a function that runs in threads, or the number of CPUs for one that runs in child processes.
        timeout: maximum time, in seconds or as a timedelta, that a call may wait in the queue. A call that waits longer
            is dropped, and its caller gets CallTimeoutError when its own timeout ends: give calls a timeout, too.
            ``None`` (the default): no limit.
        name: the name of the service: 1 to 200 of the characters A-Z, a-z, 0-9, ``_``, ``.`` and ``-``. ``None`` (the
            default): the ``__name__`` of the function. Partials, callable objects and lambdas have no usable one.
        validate: check and convert the arguments by the annotations of the function, with pydantic, before it runs. If
            they do not fit, the caller gets InvalidArgumentsError.
        re_register: if the queue exists on the broker with different limits, delete it, including the calls that wait
            in it, and declare it again. While another worker serves the queue, nothing is deleted, and the server
            raises ConfigurationError as without ``re_register``: stop all workers with the old limits first. Without
            it, different limits raise ConfigurationError when the server connects.
        delivery: ``"at-least-once"`` (the default): a call is acknowledged after its reply was sent. No call is lost
            if a worker dies, but another worker may run it a second time. ``"at-most-once"``: a call is acknowledged
            before the function starts, and never runs twice. If its worker dies, the caller gets ConnectionLostError
            or CallTimeoutError, and cannot know whether the call ran.
        idempotent: declare that running a call twice does no harm. Clients that have received a reply of this service
            then send a call again after a lost connection, within its timeout. A worker that is still running the
            call, or has replied to it within the last 60 seconds, replies again without running it again. Cannot be
            combined with ``"at-most-once"``.
        redelivery_limit: how many times a call may be delivered again because its worker died or lost its connection.
            After that, its caller gets RemoteExecutionError, and the call is moved to the queue ``rpc.dead`` with the
            reason in its headers. ``None`` (the default): 5.
        queue_type: ``"classic"``, or ``"quorum"``, which is replicated to the nodes of a cluster and stored on disk.
            ``None`` (the default): the ``queue_type`` of the server's settings, which is ``"classic"`` unless changed.
            The type of an existing queue cannot be changed.
        fetch_ahead: number of calls that one worker process fetches in addition to the ``fetch_size`` calls that it
            runs. They start as soon as a running call finishes, without a round trip to the broker. Use about a
            quarter of ``fetch_size`` for functions that take milliseconds. For functions that take seconds leave it
            out: a call that was fetched ahead waits for this worker even if another one is idle. ``None`` (the
            default): 0.
        raises: the subclasses of :class:`~rabibridge_core.errors.ServiceError` that the function raises on purpose.
            They belong to its interface: schemas and stubs show them, and the worker logs them at DEBUG only. One that
            is not listed reaches its caller all the same, and is logged as a warning, like any other exception.
        classes: classes of criticality, the most important first, each with a bound of its own in the place of
            ``queue_size``: ``{"interactive": 100, "batch": 1000}``. Each waits in a queue of its own. Callers choose
            one by ``options(criticality="batch")``; who chooses none, or one that the service does not have, gets the
            first. A worker starts a call only while none of a more important class waits here, and while an eighth of
            ``fetch_size``, at least one slot, stays free for each class above; but each class gets at least one of 20
            starts. ``None`` (the default): no classes.
        resumable: for generator functions: if the worker or a connection is lost in the middle of a stream, the client
            lets another worker go on. The function must have a parameter ``start_at``, which the server fills in: the
            index of the first item to yield, 0 for a new stream.
        executor: where the function runs. ``"loop"``: on the event loop, the only place for async functions beside
            ``"process"``; a ``def`` function must return at once there, as it blocks all calls of the worker.
            ``"thread"``: in a thread, the default for ``def`` functions. ``"process"``: in one of ``fetch_size`` child
            processes, for functions that compute for long, must really stop at their deadline, or may crash; see
            docs/processes.md. ``None`` (the default): ``"loop"`` for async functions, else ``"thread"``.
        max_calls_per_child: how many calls a child process runs before it is replaced by a new one, which gives back
            memory that the function leaks. ``None`` (the default): no limit.
        run_timeout: how long one call may run, in seconds or as a timedelta, whatever its caller allows: from the start
            of the function, or of its providers, to the end of its stream and the cleanup of its providers. A call that
            takes longer is stopped, as one whose caller has cancelled it, and its caller gets RunTimeoutError at once;
            a function in a thread cannot be interrupted, and keeps its place until it ends. Unlike ``timeout``, it does
            not count the time in the queue. ``None`` (the default): what the setting ``run_timeout`` says, which is no
            limit.
        remote_traceback: what callers are told of an exception that the function raises. ``"full"``: its traceback,
            with causes and notes. ``"user"``: the same without the lines of installed packages and of the standard
            library. ``"message"``: the type and the message. ``"none"``: that it failed. Errors in ``raises`` arrive
            with their message and fields in any case. The log of the worker has everything. ``None`` (the default):
            what the setting ``remote_traceback`` says, which is ``"full"``.
        fair: share the places of a worker, and those in the queue, among users, and those of a user among its clients.
            Of the calls that wait, the worker starts one of who has the fewest running calls; and when ``queue_size``
            calls wait, it refuses one of who has the most waiting, instead of whoever comes. Without
            ``queue_size``, or with ``fetch_ahead`` or at most once, only what a worker has fetched is shared: as many
            calls again as it runs, unless ``fetch_ahead`` says how many. See docs/limits.md. It cannot be combined with
            ``classes``.
        allow: the users of the broker that may call it, as in ``allow=("gateway",)``. All others, and callers whose
            user is not known, get AccessDeniedError before their arguments are looked at. ``None`` (the default):
            everybody who can reach the queue. See docs/identity.md.
        slow_call: after how many seconds, or a timedelta, the stack of a call that still runs is logged, once for each
            call: where its coroutine, its tasks and its threads are; see docs/stuck.md. It stops nothing, and counts
            from the arrival of the call at this worker. ``None`` (the default): what the setting ``slow_call`` says,
            which is never.
        deadline_admission: refuse a call at once, with DeadlineTooShortError, if no recent run of the function on this
            worker was as short as the time that the call has left: it would run for nothing. See docs/overload.md.
            ``None`` (the default): what the setting ``deadline_admission`` says, which is ``True``.
        max_wait: how long a call may have waited when it starts, in seconds or as a timedelta, from when its client
            sent it. One that would wait longer is refused with QueueFullError: by workers, and by clients that workers
            have refused. So the number of calls that wait follows what the workers manage. It may be changed at any
            time, as it is no argument of the queue; ``queue_size`` stays the bound of the broker, and is 1,000 unless
            given. ``fetch_ahead`` is as large as ``fetch_size``, and at least 4, unless given. See docs/overload.md.
            ``None`` (the default): no limit.
        rate: how many calls may start in a time, on all workers of the service together: ``"300/s"``, ``"20/min"``,
            ``"1000/h"``, ``"5000/d"``, or a number of calls per second. For a backend with a quota. Each worker takes
            an equal share, by the number of workers that the broker tells twice a second, and saves up no more than a
            tenth of a second of its share, or one call. What has to wait for its turn holds its place among the
            ``fetch_size`` calls; what would have to wait longer than its caller does is refused at once, with
            QueueFullError. A stream or a notification counts as one, when it starts. See docs/limits.md. ``None`` (the
            default): no limit.

    Raises:
        RegistrationError: what is decorated cannot be a service (a class, something without a name), or cannot be
            marked (a built-in function, a bound method: give those to ``add_service``), or an argument is out of
            range. It is raised when the function is defined.
    """
    if callable(queue_size) or isinstance(queue_size, classmethod):
        return mark(queue_size, None, ServiceLimits())
    limits = ServiceLimits(
        queue_size, fetch_size, timeout, validate, re_register, delivery, idempotent, redelivery_limit, queue_type,
        fetch_ahead, raises, classes, resumable, executor, max_calls_per_child, run_timeout, remote_traceback, fair,
        allow, slow_call, deadline_admission, max_wait, rate,
    )  # fmt: skip

    def decorate(func: Callable[P, R]) -> Callable[P, R]:
        mark(func, name, limits)
        return func

    return decorate
