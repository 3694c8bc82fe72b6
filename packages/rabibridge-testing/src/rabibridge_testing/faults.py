"""Faults to inject into the in-memory broker: delays, duplicates, refusals, lost and corrupt replies.

Every request and reply, and every feed (what a caller sends to the worker that streams to it), passes through all
active faults as a :class:`Passage`, which each fault may change. Faults are applied in the order in which they were
created, and their effects add up. A fault ends with :meth:`Fault.stop`, at the end of its ``with`` block, or after
``times`` uses. To write a fault, subclass :class:`Fault`, define :meth:`Fault.strike`, and append an instance to
``broker.faults``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar, get_args

from rabibridge_core._protocol.naming import check_service_name
from rabibridge_core.errors import NoRouteError, QueueFullError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rabibridge_core.transport import Refusal, Reply

__all__ = [
    "CorruptReplies",
    "Delay",
    "DropReplies",
    "Duplicate",
    "Fault",
    "FaultControls",
    "Passage",
    "Refuse",
]

Kind: TypeAlias = Literal["request", "reply", "feed"]
FaultT = TypeVar("FaultT", bound="Fault")


@dataclass(slots=True)
class Passage:
    """A request or a reply on its way through the broker, or a further message of a call: a feed.

    Attributes:
        kind: ``"request"``, ``"reply"`` or ``"feed"``.
        service: the name of the service; for a feed, the address that it was sent to.
        reply: the reply, which a fault may replace; ``None`` for others.
        copies: how many copies arrive; 0: it is lost.
        delay: the delay before it arrives, in seconds.
        refusal: the error to refuse a request or a feed with; ``None``: accept it.
    """

    kind: Kind
    service: str
    reply: Reply | None = None
    copies: int = 1
    delay: float = 0.0
    refusal: Refusal | None = None


class Fault:
    """Base class of all faults: selects the requests and replies that a fault applies to.

    Attributes:
        struck: how often the fault was applied.
    """

    def __init__(
        self,
        service: str | None = None,
        *,
        kind: Kind | None = None,
        times: int | None = None,
    ) -> None:
        """Select what the fault applies to.

        Args:
            service: only this service; ``None``: all services.
            kind: only requests, only replies, or only feeds: what callers send to a worker that streams. ``None``: all.
            times: how often the fault is applied; ``None``: until it is stopped.

        Raises:
            ValueError: ``kind`` or ``times`` is something else.
            ConfigurationError: no service can have the name.
        """
        if kind not in (None, *get_args(Kind)):
            raise ValueError(f"kind is {kind!r}; use 'request', 'reply' or 'feed', or None for all of them")
        if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
            raise ValueError(f"times is {times!r}; use a number from 1 on, or None for no limit")
        self.service = service if service is None else check_service_name(service)
        self.kind = kind
        self.times = times
        self.struck = 0
        self._stopped = False

    def __repr__(self) -> str:
        limit = "" if self.times is None else f" of {self.times}"
        return f"<{type(self).__name__} of {self.service or 'all services'}, struck {self.struck}{limit} times>"

    @property
    def active(self) -> bool:
        """Whether the fault is neither stopped nor used up."""
        return not self._stopped and (self.times is None or self.struck < self.times)

    def stop(self) -> None:
        """Stop the fault for good."""
        self._stopped = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def look_at(self, passage: Passage) -> None:
        """Apply the fault to ``passage`` if it is selected."""
        if self.active and self.service in (None, passage.service) and self.kind in (None, passage.kind):
            self.struck += 1
            self.strike(passage)

    def strike(self, passage: Passage) -> None:
        """Change ``passage``; subclasses define this."""
        raise NotImplementedError


def require_seconds(seconds: float) -> float:
    """Return a time to wait, in seconds.

    Raises:
        ValueError: it is no finite number from 0 on.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise ValueError(f"the delay is {seconds!r}; use a number of seconds from 0 on")
    return seconds


class Delay(Fault):
    """Delays requests or replies. A request whose timeout ends during the delay never arrives."""

    def __init__(
        self,
        seconds: float,
        service: str | None = None,
        *,
        kind: Kind | None = "request",
        times: int | None = None,
    ) -> None:
        """Delay by ``seconds``; for the other arguments see :class:`Fault`."""
        super().__init__(service, kind=kind, times=times)
        self.seconds = require_seconds(seconds)

    def strike(self, passage: Passage) -> None:
        """Add ``seconds`` to the delay."""
        passage.delay += self.seconds


class Duplicate(Fault):
    """Delivers requests or replies twice, as happens when a sender gets no confirmation and sends again."""

    def strike(self, passage: Passage) -> None:
        """Double the number of copies."""
        passage.copies *= 2


class Refuse(Fault):
    """Refuses requests, regardless of the state of the queue."""

    def __init__(
        self, service: str | None = None, error: Refusal = QueueFullError, *, times: int | None = None
    ) -> None:
        """Refuse with ``error``: QueueFullError or NoRouteError.

        Raises:
            TypeError: ``error`` is something else.
        """
        if error not in (QueueFullError, NoRouteError):
            raise TypeError(f"error is {error!r}: a broker can only refuse with QueueFullError or NoRouteError")
        super().__init__(service, kind="request", times=times)
        self.error = error

    def strike(self, passage: Passage) -> None:
        """Refuse the request."""
        passage.refusal = self.error


class DropReplies(Fault):
    """Drops replies: the worker has sent them and acknowledged the request, but the caller receives nothing."""

    def __init__(self, service: str | None = None, *, times: int | None = None) -> None:
        """Drop the replies of ``service``; ``None``: of all services."""
        super().__init__(service, kind="reply", times=times)

    def strike(self, passage: Passage) -> None:
        """Drop the reply."""
        passage.copies = 0


class CorruptReplies(Fault):
    """Replaces the body of replies."""

    def __init__(
        self, service: str | None = None, *, body: bytes = b"\xc1 not what it says", times: int | None = None
    ) -> None:
        """Replace the body by ``body``; by default bytes that no serializer can decode."""
        super().__init__(service, kind="reply", times=times)
        self.body = body

    def strike(self, passage: Passage) -> None:
        """Replace the body of the reply."""
        if passage.reply is not None:
            passage.reply = passage.reply._replace(body=self.body)


class FaultControls:
    """The methods of a broker that inject faults. Each returns the fault that it has created."""

    def __init__(self) -> None:
        """Start without faults."""
        self.faults: list[Fault] = []

    def delay(
        self,
        seconds: float,
        service: str | None = None,
        *,
        kind: Kind | None = "request",
        times: int | None = None,
    ) -> Delay:
        """Delay requests, replies or both (``kind=None``) by ``seconds``."""
        return self._add(Delay(seconds, service, kind=kind, times=times))

    def duplicate(
        self,
        service: str | None = None,
        *,
        kind: Kind | None = "request",
        times: int | None = None,
    ) -> Duplicate:
        """Deliver requests, replies or both (``kind=None``) twice."""
        return self._add(Duplicate(service, kind=kind, times=times))

    def refuse(
        self, service: str | None = None, error: Refusal = QueueFullError, *, times: int | None = None
    ) -> Refuse:
        """Refuse requests with QueueFullError or NoRouteError."""
        return self._add(Refuse(service, error, times=times))

    def drop_replies(self, service: str | None = None, *, times: int | None = None) -> DropReplies:
        """Drop replies on their way to the caller."""
        return self._add(DropReplies(service, times=times))

    def corrupt_replies(
        self, service: str | None = None, *, body: bytes = b"\xc1 not what it says", times: int | None = None
    ) -> CorruptReplies:
        """Replace the body of replies by ``body``; by default by bytes that cannot be decoded."""
        return self._add(CorruptReplies(service, body=body, times=times))

    def clear_faults(self) -> None:
        """Stop all faults."""
        for fault in self.faults:
            fault.stop()
        self.faults.clear()

    def struck(self, passage: Passage) -> Passage:
        """Apply all faults to ``passage`` and return it."""
        for fault in list(self.faults):
            fault.look_at(passage)
            if not fault.active:
                self.faults.remove(fault)
        return passage

    def _add(self, fault: FaultT) -> FaultT:
        self.faults.append(fault)
        return fault
