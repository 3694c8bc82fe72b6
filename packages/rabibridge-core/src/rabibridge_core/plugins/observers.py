"""What an observer of calls implements: objects that a plug-in makes once, and whose methods the engines call directly.

pluggy finds the plug-ins, and asks each of them once for each client and server. After that, no event goes through
pluggy, which takes some microseconds for each. Where nobody observes, an engine has ``None`` in place of an observer,
and tests for that once for each call.

The methods are called on the event loop, as part of the call: they must be fast, and must not block. What they raise is
logged, and does not affect the call. All have defaults that do nothing, so that an observer has those that it needs,
and further events can be added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import BrokerAddress, Headers, HeaderValue, IncomingRequest

__all__ = [
    "CallHeaders",
    "CallObserver",
    "ClientObserver",
    "ObservedRequest",
    "Outcome",
    "RequestObserver",
    "Role",
    "ServerObserver",
    "Shape",
    "Subject",
]

Role: TypeAlias = Literal["client", "server", "child"]
"""What is observed: a client, a server, or a child process that runs the calls of one service for a server."""

Shape: TypeAlias = Literal["call", "stream", "notify", "broadcast", "map", "member"]
"""What a caller does: it waits for one result, reads a stream, sends a notification or a broadcast, or makes a call for
each item of an input (``map`` and ``starmap``); a ``member`` is one of the calls of these."""

Outcome: TypeAlias = Literal[
    "succeeded", "failed", "declared", "refused", "expired", "cancelled", "requeued", "dead",
]  # fmt: skip
"""How a request ended on a worker: with a result; with an exception of the function; with an error that the service
declares; before the function was called, as it was not admitted or its arguments do not fit; because its time was over;
because nobody waits for it; given back to the queue or lost with the connection, so that a worker runs it again; in the
dead-letter queue, after too many deliveries."""


class Subject(NamedTuple):
    """What a plug-in is asked to observe.

    Attributes:
        role: whether it is a client, a server, or a child process.
        name: the name of the client or server.
        settings: its settings; of a child process those that concern observers.
        broker: returns the broker that it is connected to now, or was last; ``None``: none yet.
    """

    role: Role
    name: str
    settings: Settings
    broker: Callable[[], BrokerAddress | None]


class CallObserver:
    """Observes one call of a client, from its start to its end."""

    __slots__ = ()

    def enter(self) -> None:
        """Called for a ``map``, once, in the context that all of its calls are made in.

        Context variables that are set here are seen by these calls, and not by the caller of ``map``.
        """

    def sending(
        self, correlation_id: bytes, time_left: float | None, headers: Mapping[str, HeaderValue] | None
    ) -> Headers | None:
        """Called before the first attempt is sent; not called if there is none.

        Args:
            correlation_id: id of the call, unique within the client.
            time_left: remaining time of the call in seconds; ``None``: no limit.
            headers: those that the call has; ``None``: none.

        Returns:
            Headers to add; ``None``: none. Those that the call has already are not replaced. Values and names are as
            :meth:`HookSpecs.rabibridge_call_sent` says.
        """

    def refused(self, retry_in: float) -> None:
        """Called when the queue was full, and the call will be sent again after ``retry_in`` seconds."""

    def lost(self, error: BaseException) -> None:
        """Called when the connection was lost, and the call will be sent again when there is another one."""

    def sent_again(self, correlation_id: bytes) -> None:
        """Called when it is sent again; ``correlation_id``: that of this attempt. A stream may go on under another."""

    def hedge_sent(self, correlation_id: bytes, after: float) -> None:
        """Called when a second copy of a call with ``hedge=`` is sent, while the first has no answer.

        It is called again if that came to the worker of the first, and another copy is sent in its place.

        Args:
            correlation_id: that of the copy.
            after: how long after the first, in seconds.
        """

    def hedge_answered(self, *, second: bool) -> None:
        """Called when a call has an answer of which a second copy was sent; ``second``: that copy was first."""

    def ended(self, error: BaseException | None, items: int | None) -> None:
        """Called once at its end.

        Args:
            error: what the caller gets in place of a result; ``None``: a result. CancelledError: nobody waits for it.
            items: how many items of a stream the caller has taken, or replies of a broadcast; ``None``: it has none.
        """


class CallHeaders(CallObserver):
    """Adds headers to a call, and observes nothing else of it.

    An engine calls no method of it, so that such a call takes little more time than one that nothing observes.
    """

    __slots__ = ("checked", "headers")

    def __init__(self, headers: Headers, checked: bool = False) -> None:
        """Add ``headers``, as :meth:`CallObserver.sending` does; they are not changed afterwards.

        Args:
            headers: the headers to add.
            checked: whether all of them may be sent, for certain: then they are not checked for each call.
        """
        self.headers = headers
        self.checked = checked

    def sending(
        self, correlation_id: bytes, time_left: float | None, headers: Mapping[str, HeaderValue] | None
    ) -> Headers | None:
        """Return them."""
        return self.headers


class ClientObserver:
    """Observes the calls of one client."""

    __slots__ = ()

    def call_started(self, shape: Shape, service: str) -> CallObserver | None:
        """Called at the start of a call, in the task of its caller, before its arguments are looked at.

        A member of a ``map`` is a call of its own, between start and end of the ``map``.

        Returns:
            What observes it; ``None``: nothing.
        """


class ObservedRequest(NamedTuple):
    """A request that a worker has received.

    Attributes:
        shape: ``"call"``, ``"stream"``, ``"notify"`` or ``"broadcast"``.
        service: the name of the service.
        request: the request, not to be settled or changed.
        waited: how long it has waited in this worker, in seconds.
    """

    shape: Shape
    service: str
    request: IncomingRequest
    waited: float


class RequestObserver:
    """Observes one request on a worker, from the first step of its task to its end."""

    __slots__ = ()

    def handler_started(self, queued: float | None) -> None:
        """Called before the function is called, in the task that calls it.

        Args:
            queued: how long the request was on its way and has waited, in the queue and in the worker, in seconds, by
                the clocks of both machines as far as they are known to differ; ``None``: the caller has set no limit,
                so that it is not known.
        """

    def child_headers(self) -> Headers | None:
        """Return headers that the child process sees in place of those of the request, if one runs the function."""

    def ended(self, outcome: Outcome, error: BaseException | None, items: int | None) -> None:
        """Called once, in the task of the request, after it was settled.

        Args:
            outcome: how it ended.
            error: what prevented a result; ``None``: nothing, or the reason was not an error.
            items: how many items of a stream were sent; ``None``: it is none.
        """


class ServerObserver:
    """Observes the requests of one server, or of one child process of it."""

    __slots__ = ()

    def skips(self, request: IncomingRequest) -> bool:
        """Called as the first step of the task that will run the function: return whether to observe nothing of it.

        :meth:`request_started` is not called then, and such a request takes little more time than one that nothing
        observes. It is not called where several observers are in use. Context variables are as they are there.
        """
        return False

    def request_started(self, request: ObservedRequest) -> RequestObserver | None:
        """Called next, in the task that will run the function.

        Context variables that are set here are seen by the function, the providers of its parameters, and its thread.

        Returns:
            What observes it; ``None``: nothing.
        """

    def request_dropped(self, request: ObservedRequest, outcome: Outcome) -> None:
        """Called when a request has ended before it had a task."""
