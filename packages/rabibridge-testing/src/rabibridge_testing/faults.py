"""Ways in which a broker and a network misbehave, as small objects that add up.

Each fault looks at every request and reply that passes (a :class:`Passage`) and changes what becomes of it. Faults
apply in the order in which they were made. One ends with :meth:`Fault.stop`, at the end of its ``with`` block, or once
it has struck ``times`` times. A fault of one's own is a subclass with its own :meth:`Fault.strike`, added to
``broker.faults``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

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

Kind: TypeAlias = Literal["request", "reply"]
FaultT = TypeVar("FaultT", bound="Fault")


@dataclass(slots=True)
class Passage:
    """A request or a reply that passes the broker.

    Attributes:
        kind: which of the two.
        service: the name of the service.
        reply: the reply; ``None`` for a request. A fault may put another one in its place.
        copies: how many of it arrive; 0: it is lost.
        delay: how much later it arrives, in seconds.
        refusal: for a request: the error to refuse it with, ``None`` to take it.
    """

    kind: Kind
    service: str
    reply: Reply | None = None
    copies: int = 1
    delay: float = 0.0
    refusal: Refusal | None = None


class Fault:
    """The base of all faults: whom it strikes, and how often.

    Attributes:
        struck: how many times it has struck.
    """

    def __init__(
        self,
        service: str | None = None,
        *,
        kind: Kind | None = None,
        times: int | None = None,
    ) -> None:
        """Choose what to strike.

        Args:
            service: only this service; ``None``: all.
            kind: only requests, or only replies; ``None``: both.
            times: how often; ``None``: until stopped.
        """
        self.service = service
        self.kind = kind
        self.times = times
        self.struck = 0
        self._stopped = False

    def __repr__(self) -> str:
        limit = "" if self.times is None else f" of {self.times}"
        return f"<{type(self).__name__} of {self.service or 'all services'}, struck {self.struck}{limit} times>"

    @property
    def active(self) -> bool:
        """Whether it can still strike."""
        return not self._stopped and (self.times is None or self.struck < self.times)

    def stop(self) -> None:
        """Strike no more."""
        self._stopped = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def look_at(self, passage: Passage) -> None:
        """Strike, if this is one to strike."""
        if self.active and self.service in (None, passage.service) and self.kind in (None, passage.kind):
            self.struck += 1
            self.strike(passage)

    def strike(self, passage: Passage) -> None:
        """Change what becomes of ``passage``."""
        raise NotImplementedError


class Delay(Fault):
    """Lets requests or replies arrive later. A request whose time runs out on the way never arrives."""

    def __init__(
        self,
        seconds: float,
        service: str | None = None,
        *,
        kind: Kind | None = "request",
        times: int | None = None,
    ) -> None:
        """Delay by ``seconds``; the rest as in :class:`Fault`."""
        super().__init__(service, kind=kind, times=times)
        self.seconds = seconds

    def strike(self, passage: Passage) -> None:
        """Add to the delay."""
        passage.delay += self.seconds


class Duplicate(Fault):
    """Lets requests or replies arrive twice, as happens where a sender does not hear that it was heard."""

    def strike(self, passage: Passage) -> None:
        """Double it."""
        passage.copies *= 2


class Refuse(Fault):
    """Refuses requests, whatever the state of the queue."""

    def __init__(
        self, service: str | None = None, error: Refusal = QueueFullError, *, times: int | None = None
    ) -> None:
        """Refuse with ``error``, which is QueueFullError or NoRouteError."""
        if error not in (QueueFullError, NoRouteError):
            raise TypeError(f"a broker refuses with QueueFullError or NoRouteError, not with {error!r}")
        super().__init__(service, kind="request", times=times)
        self.error = error

    def strike(self, passage: Passage) -> None:
        """Refuse it."""
        passage.refusal = self.error


class DropReplies(Fault):
    """Loses replies: the worker has sent them and settled, the caller hears nothing."""

    def __init__(self, service: str | None = None, *, times: int | None = None) -> None:
        """Lose the replies of ``service``, or of all."""
        super().__init__(service, kind="reply", times=times)

    def strike(self, passage: Passage) -> None:
        """Lose it."""
        passage.copies = 0


class CorruptReplies(Fault):
    """Replaces the body of replies."""

    def __init__(
        self, service: str | None = None, *, body: bytes = b"\xc1 not what it says", times: int | None = None
    ) -> None:
        """Put ``body`` in its place, which no serializer can decode unless it is given."""
        super().__init__(service, kind="reply", times=times)
        self.body = body

    def strike(self, passage: Passage) -> None:
        """Replace it."""
        if passage.reply is not None:
            passage.reply = passage.reply._replace(body=self.body)


class FaultControls:
    """The part of a broker that misbehaves on demand. Every method returns the fault it made."""

    def __init__(self) -> None:
        """Behave well."""
        self.faults: list[Fault] = []

    def delay(
        self,
        seconds: float,
        service: str | None = None,
        *,
        kind: Kind | None = "request",
        times: int | None = None,
    ) -> Delay:
        """Let requests, or replies, or both (``kind=None``) arrive ``seconds`` later."""
        return self._add(Delay(seconds, service, kind=kind, times=times))

    def duplicate(
        self,
        service: str | None = None,
        *,
        kind: Kind | None = "request",
        times: int | None = None,
    ) -> Duplicate:
        """Let requests, or replies, or both (``kind=None``) arrive twice."""
        return self._add(Duplicate(service, kind=kind, times=times))

    def refuse(
        self, service: str | None = None, error: Refusal = QueueFullError, *, times: int | None = None
    ) -> Refuse:
        """Refuse requests with QueueFullError or NoRouteError."""
        return self._add(Refuse(service, error, times=times))

    def drop_replies(self, service: str | None = None, *, times: int | None = None) -> DropReplies:
        """Lose replies on their way to the caller."""
        return self._add(DropReplies(service, times=times))

    def corrupt_replies(
        self, service: str | None = None, *, body: bytes = b"\xc1 not what it says", times: int | None = None
    ) -> CorruptReplies:
        """Replace the body of replies by one that cannot be decoded, or by ``body``."""
        return self._add(CorruptReplies(service, body=body, times=times))

    def clear_faults(self) -> None:
        """Stop all faults."""
        for fault in self.faults:
            fault.stop()
        self.faults.clear()

    def struck(self, passage: Passage) -> Passage:
        """Let all faults look at ``passage``, and return it."""
        for fault in list(self.faults):
            fault.look_at(passage)
            if not fault.active:
                self.faults.remove(fault)
        return passage

    def _add(self, fault: FaultT) -> FaultT:
        self.faults.append(fault)
        return fault
