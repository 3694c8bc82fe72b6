"""The call that a handler is processing, and what nested calls inherit from it."""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from functools import partial
from time import time
from types import MappingProxyType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from rabibridge_core._clock import monotonic
from rabibridge_core._observability.progress import ProgressSender, as_fraction
from rabibridge_core._protocol.call_chains import chain_in
from rabibridge_core._protocol.headers import CRITICALITY, HEDGE, RESENT, CheckedHeaders, is_call_header
from rabibridge_core._protocol.naming import is_class_name

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from concurrent.futures import Executor

    from rabibridge_core.transport import Headers, IncomingRequest

__all__ = [
    "CallScope",
    "CurrentCall",
    "current_call",
    "current_call_var",
    "inherited_criticality",
    "inherited_headers",
    "inherited_time",
    "passed_on",
]

_OF_ONE_MESSAGE = frozenset(("baggage", "bcc", "cc", "traceparent", "tracestate"))
"""Headers of one message, in lower case, that nested calls do not inherit; nor do they those that begin with ``x-``."""

ParamsT = ParamSpec("ParamsT")
ResultT = TypeVar("ResultT")


class CallScope:
    """What calls are made for, and inherit from: a call that is being processed, or a request of another protocol."""

    __slots__ = ("ends_at", "over")

    what = "the call that is being processed here"
    passed_on: Headers = MappingProxyType({})
    """Headers that every call made in it has, unless the call has others of these names."""

    def __init__(self) -> None:
        """Begin without a limit."""
        self.ends_at: float | None = None
        """The deadline on the clock of the engines, which is the event loop's; ``None``: none."""
        self.over = False  # answered or abandoned: nothing is inherited from it then

    @property
    def time_left(self) -> float | None:
        """The time left to the call, in seconds, never below 0; ``None``: no limit."""
        return None if self.ends_at is None else max(0.0, self.ends_at - monotonic())

    @property
    def criticality(self) -> str | None:
        """The class of criticality that calls made in it inherit; ``None``: none."""
        return None

    @property
    def chain(self) -> str:
        """The calls that wait for the calls made in it, for the header ``rb-chain``; empty: none."""
        return ""

    @property
    def headers(self) -> Headers:
        """The headers of the call."""
        return {}


class CurrentCall(CallScope):
    """The call that a handler is processing."""

    __slots__ = ("_progress", "_request", "cancelled", "service")

    _progress: ProgressSender  # set by the first report: most calls make none

    def __init__(self, service: str, request: IncomingRequest) -> None:
        """Describe ``request`` of ``service``; created by the engine."""
        self.ends_at: float | None = None
        self.over = False
        self.service = service
        """The name of the service."""
        self.cancelled = False
        """Whether the result is no longer wanted: the caller cancelled the call or is gone, its deadline has passed, or
        this worker has lost its connection or has stopped waiting for the call, because ``drain_timeout`` was over or
        it was told to stop a second time. A worker that is told to stop waits for its calls first: until then it is
        false. A handler that is not async cannot be stopped; it can check this regularly and return early."""
        self._request = request

    @property
    def correlation_id(self) -> str:
        """The caller's id of the call, as it appears in logs; empty if the caller gave none."""
        return self._request.correlation_id.decode("utf-8", "backslashreplace")

    @property
    def id(self) -> str:
        """The same as :attr:`correlation_id`."""
        return self.correlation_id

    @property
    def caller(self) -> str:
        """Identifies the caller: equal for all calls of one caller on one connection, different for others.

        It says nothing about who that is; :attr:`user` and :attr:`headers` do.
        """
        return self._request.caller.decode("utf-8", "backslashreplace")

    @property
    def user(self) -> str:
        """The user of the broker that sent the call, if the broker vouches for that; empty if it is not known."""
        return self._request.user

    @property
    def attempt(self) -> int:
        """How many times this call has been delivered to a worker, as far as that is known: 1 for the first time.

        It is at least 2 if :attr:`redelivered` is true.
        """
        return max(self._request.deliveries, int(self.redelivered)) + 1

    @property
    def deadline(self) -> float | None:
        """When the time of the call ends, by the clock of this worker, in seconds since 1970; ``None``: no limit."""
        return None if self.ends_at is None else time() + self.ends_at - monotonic()

    @property
    def redelivered(self) -> bool:
        """Whether this call may have been started before.

        It was delivered to a worker before, or its client has sent it again, after a lost connection or as a hedge.
        """
        return self._request.redelivered or any(self._request.headers.get(name) is True for name in (RESENT, HEDGE))

    @property
    def criticality(self) -> str | None:
        """The class of criticality that the caller has named or inherited, whether this service has classes or not.

        Calls that are made here are of this class, too, unless they name another one. ``None``: the caller has named
        none.
        """
        named = self._request.headers.get(CRITICALITY)
        return named if is_class_name(named) else None

    def progress(self, fraction: float | None = None, text: str = "") -> None:
        """Tell the caller how far the call has come, if it wants to know: see ``client.options(on_progress=...)``.

        It returns at once, in any thread, and may be called as often as the handler likes: the caller gets at most 20
        reports in a second, each of them the newest. A report may get lost. After the end of the call it has no effect.

        Args:
            fraction: which part of the work is done: 0.4 is 40 %. What is below 0 or above 1 counts as 0 or 1;
                ``None``: it is not known.
            text: what is being done, for people; it is cut after 1,024 characters.

        Raises:
            TypeError: ``fraction`` is no number, or ``text`` is no text.
            ValueError: ``fraction`` is not a number (NaN).
        """
        if fraction is not None:
            fraction = as_fraction(fraction)
        if not isinstance(text, str):
            raise TypeError(f"text is {repr(text)[:80]}; it must be a text")
        if self.over:
            return
        try:
            sender = self._progress
        except AttributeError:
            loop = self._home_loop()
            if loop is None:
                return
            sender = self._progress = ProgressSender(self._request, loop)
        if not sender.over:
            sender.report(fraction, text)

    def _home_loop(self) -> AbstractEventLoop | None:
        """Return the event loop that processes the call; ``None``: it is not processed any more."""
        return None

    def bind(self, func: Callable[ParamsT, ResultT], /) -> Callable[ParamsT, ResultT]:
        """Return ``func`` for use in another thread, where it is part of this call as it is here.

        ``current_call()`` works in it, and calls that it makes inherit the deadline. Python gives the context of this
        call to tasks and to :func:`asyncio.to_thread` by itself, but not to :class:`threading.Thread`, to
        ``run_in_executor`` or to ``ThreadPoolExecutor.submit``; give those ``current_call().bind(func)``.
        """
        context = copy_context()

        def run(*args: ParamsT.args, **kwargs: ParamsT.kwargs) -> ResultT:
            # A copy for each run: one context cannot be entered by two threads at once.
            return context.copy().run(func, *args, **kwargs)

        return run

    async def run_in_thread(
        self,
        func: Callable[ParamsT, ResultT],
        /,
        *args: ParamsT.args,
        **kwargs: ParamsT.kwargs,
    ) -> ResultT:
        """Run ``func(*args, **kwargs)`` in a thread and return its result; the function is part of this call there.

        It takes a thread of the event loop's default executor. A thread cannot be stopped: if this call is cancelled or
        its time is over, the awaiting task is cancelled and the function runs on, unless it looks at :attr:`cancelled`.

        Raises:
            BaseException: what ``func`` raises.
        """
        return await self.run_in_executor(None, func, *args, **kwargs)

    async def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[ParamsT, ResultT],
        /,
        *args: ParamsT.args,
        **kwargs: ParamsT.kwargs,
    ) -> ResultT:
        """Do the same as :meth:`run_in_thread` with a thread of ``executor``; ``None``: the event loop's default."""
        from asyncio import get_running_loop  # settings are read without it

        loop = get_running_loop()
        return await loop.run_in_executor(executor, partial(self.bind(func), *args, **kwargs))

    @property
    def chain(self) -> str:
        """The calls that wait for the calls made here, as its own request says them."""
        return chain_in(self._request.headers)

    @property
    def headers(self) -> Headers:
        """The headers of the call."""
        return self._request.headers


current_call_var: ContextVar[CallScope | None] = ContextVar("rabibridge_current_call", default=None)
"""The call that the current task or thread is processing, set by the engine; or what else calls are made for."""


def current_call() -> CurrentCall:
    """Return the call that is being processed; for use in a handler, in tasks that it starts, and in its thread.

    In other threads that the handler starts, use :meth:`CurrentCall.run_in_thread` or :meth:`CurrentCall.bind`.

    Raises:
        LookupError: the code that calls this does not run in a handler.
    """
    call = current_call_var.get()
    if not isinstance(call, CurrentCall):
        raise LookupError("current_call() was called outside a handler: no call is being processed here")
    return call


def inherited_time() -> float | None:
    """Return the timeout that a call made now inherits, in seconds; ``None``: no limit."""
    call = current_call_var.get()
    return None if call is None or call.over else call.time_left


def inherited_criticality() -> str | None:
    """Return the class of criticality that a call made now inherits; ``None``: none."""
    call = current_call_var.get()
    return None if call is None or call.over else call.criticality


def passed_on(headers: Headers | None) -> Headers | None:
    """Return ``headers`` and, below them, those that every call made here has."""
    call = current_call_var.get()
    if call is None or call.over or not call.passed_on:
        return headers
    if type(headers) is CheckedHeaders:
        return CheckedHeaders({**call.passed_on, **headers})
    return {**call.passed_on, **(headers or {})}


def inherited_headers(headers: Headers | None) -> Headers | None:
    """Return ``headers`` and, below them, those that the caller gave the call that is being processed here.

    Not taken over are headers that RabiBridge or the broker has added, that a plug-in for traces sets anew for each
    call, or that this client could not have sent.
    """
    call = current_call_var.get()
    if call is None or call.over:
        return headers
    given = {
        name: value
        for name, value in call.headers.items()
        if is_call_header(name, value) and name.lower() not in _OF_ONE_MESSAGE and not name.lower().startswith("x-")
    }
    if type(headers) is CheckedHeaders:
        return CheckedHeaders({**given, **headers})
    return {**given, **headers} if headers else given or headers
