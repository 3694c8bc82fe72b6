"""The state of one request, from its arrival until it is settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from rabibridge_core._clock import monotonic
from rabibridge_core._observability.call_context import CurrentCall

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable
    from concurrent.futures import Future

    from rabibridge_core._server.deduplication import SharedExecution
    from rabibridge_core.introspection import CallStack
    from rabibridge_core.plugins.observers import Outcome, RequestObserver
    from rabibridge_core.transport import IncomingRequest

__all__ = ["ActiveRequest", "ProcessorOwner", "StackSource", "StopReason", "probe_callers"]

StopReason: TypeAlias = Literal["expired", "cancelled", "requeued", "void", "overran", "waited"]
"""Why a request is stopped: its deadline passed, its caller cancelled it or disconnected, the worker gives it back to
the queue, its connection was lost and the broker has requeued it, it ran longer than its service allows, or waited."""


class CountedItems(Protocol):
    """What is known of the items of a stream.

    Attributes:
        start: the index of the first one.
        sender: sends them; ``None``: nothing is streamed.
    """

    start: int
    sender: Any

    @property
    def sent(self) -> int:
        """The index of the next one."""
        ...


class StackSource(Protocol):
    """A child process that runs a call."""

    def stacks(self, call_id: bytes, /) -> tuple[CallStack, ...]:
        """Return where that call is; it blocks for a second at most, and may be called from any thread."""
        ...


class Places(Protocol):
    """The places of a service."""

    def extend(self, chain: str, active: ActiveRequest, /) -> str:
        """Return a chain with this request at its end, which holds one of them."""
        ...


class ActiveRequest(CurrentCall):
    """The state of one request, which is also what its handler gets from ``current_call()``."""

    __slots__ = (
        "accepted",
        "child",
        "deadline_slot",
        "execution",
        "interruptible",
        "observed",
        "outcome",
        "place",
        "places",
        "probe_due",
        "received_at",
        "request",
        "session",
        "settled",
        "started_at",
        "stop_reason",
        "task",
        "thread_future",
    )

    observed: RequestObserver
    """Hears of it; set if anything observes requests."""
    outcome: Outcome
    """How it has ended; set before its owner hears of that."""
    started_at: float
    """When it began to run, on the monotonic clock; set by services that find out how many calls to run."""
    session: CountedItems
    """Set if it streams, or has an argument that is fed."""
    child: StackSource
    """Set while a child process runs it."""
    place: str
    """Its name in the chains of the calls that it makes; set by the first one."""

    def __init__(self, service: str, request: IncomingRequest, places: Places | None = None) -> None:
        """Describe ``request`` of ``service``, which takes one of ``places``; ``None``: it takes none."""
        # The attributes of the base class are set here: this saves one call per request.
        self.service = service
        self.cancelled = False
        self.ends_at = None
        self.over = False
        self._request = self.request = request
        self.places = places
        self.received_at = monotonic()
        self.stop_reason: StopReason | None = None
        self.interruptible = False
        """Whether its task may be cancelled: not before its first step, as it would then never settle the request, and
        not while the providers of its handler clean up."""
        self.accepted = False
        """Whether it was acknowledged before the handler started (at most once)."""
        self.settled = False
        """Whether it was settled although its handler still runs."""
        self.probe_due = False
        """Whether the next maintenance probes its caller; set by the first maintenance that sees the request."""
        self.deadline_slot: float | None = None
        self.execution: SharedExecution[ActiveRequest] | None = None
        """The execution that it leads: other requests with its idempotency key may wait for the reply."""
        self.thread_future: Future[Any] | None = None
        """The work that was submitted to a thread."""
        self.task: asyncio.Task[None] | None = None
        """The task that processes it; ``None`` while it is queued."""

    def run_by(self, task: asyncio.Task[None]) -> None:
        """Keep the task that processes it, unless it has done so already, as an eager task can."""
        if not self.over:
            self.task = task

    @property
    def chain(self) -> str:
        """The calls that wait for the calls made here: those that wait for this one, and it."""
        chain, places = super().chain, self.places
        return chain if places is None else places.extend(chain, self)

    def _home_loop(self) -> asyncio.AbstractEventLoop | None:
        task = self.task
        return None if task is None else task.get_loop()


class ProcessorOwner(Protocol):
    """What a ``RequestProcessor`` calls in the object that gives it requests."""

    def stop_request(self, active: ActiveRequest, reason: StopReason, /) -> None:
        """Stop an active request; without effect if it is stopped already."""
        ...

    def request_finished(self, active: ActiveRequest, /) -> None:
        """Called when the processing of a request ends, if its ``notifies_owner`` is set."""
        ...

    @property
    def shutting_down(self) -> bool:
        """Whether the event loop has cancelled all of its tasks, because its program ends."""
        ...


def probe_callers(requests: Iterable[ActiveRequest]) -> None:
    """Probe the callers of requests that the maintenance before this one has seen already, each caller once."""
    probed: set[bytes] = set()
    for active in requests:
        request = active.request
        if not active.probe_due:
            active.probe_due = True
        elif request.caller not in probed and not (request.void or request.persistent or active.settled):
            probed.add(request.caller)
            request.probe()
