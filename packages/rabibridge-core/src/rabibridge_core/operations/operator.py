"""What a transport offers to operators."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

    from rabibridge_core.operations.findings import Report
    from rabibridge_core.operations.letter_contents import LetterContents
    from rabibridge_core.operations.letter_reports import LetterList, RequeueReport
    from rabibridge_core.operations.letters import LetterFilter
    from rabibridge_core.operations.queues import QueueState
    from rabibridge_core.transport import ServiceQueue

__all__ = ["DeadLetterBox", "Examination", "Operator", "PermissionRequest", "QueueBox", "Role"]

Role: TypeAlias = Literal["client", "server", "both", "operator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What to examine, and how.

    Attributes:
        role: what the user is for: which permissions are tried out.
        queues: the queues of the services that a program serves.
        limit: the time for each step, in seconds.
        clock: the clock of this machine.
    """

    role: Role = "both"
    queues: Sequence[ServiceQueue] = ()
    limit: float = 5.0
    clock: Callable[[], float] = time.time


class PermissionRequest(NamedTuple):
    """Whose permissions are asked for.

    Attributes:
        role: ``caller``, ``server`` or ``operator``.
        services: names of services; empty: all of the namespace.
        user: the user of the broker.
    """

    role: Literal["caller", "server", "operator"]
    services: Sequence[str]
    user: str


class DeadLetterBox(Protocol):
    """The dead letters of a namespace. Every method may raise ConfigurationError, ConnectionLostError, OperationError.

    The broker may have no connection, no permission, or be busy with another operator.
    """

    async def list(self, which: LetterFilter = ..., *, limit: int = 1000) -> LetterList:
        """Return letters, the oldest first, and leave them; ``limit``: how many to look at."""
        ...

    async def show(self, identifier: str) -> LetterContents | None:
        """Return a letter with its decoded body; ``None`` if there is none with this identifier (any more)."""
        ...

    async def requeue(
        self, which: LetterFilter = ..., *, timeout: float | None = None, vouch: bool = False
    ) -> RequeueReport:
        """Move letters back to the queues of their services; ``timeout``: the time that each is given, in seconds."""
        ...

    async def purge(self, which: LetterFilter = ..., *, foreign: bool = False) -> int:
        """Delete letters; return how many."""
        ...


class QueueBox(Protocol):
    """The queues of a namespace. Every method may raise ConfigurationError, ConnectionLostError, OperationError."""

    async def find(self, names: Iterable[str]) -> list[QueueState]:
        """Return the queues that exist of these names, each once; a name is that of a service or of a queue."""
        ...

    async def purge(self, queue: str) -> int:
        """Delete the calls that wait in a queue; return how many."""
        ...

    async def delete(self, queue: str, *, if_unused: bool = True) -> int:
        """Delete a queue; return how many calls waited in it."""
        ...


class Operator(Protocol):
    """What operators do on one broker. Nothing connects before it is used."""

    async def examine(self, what: Examination, findings: Report) -> None:
        """Find out what is wrong between here and the broker; each step takes ``what.limit`` seconds at most."""
        ...

    def dead_letters(self, *, beside_consumers: bool) -> AbstractAsyncContextManager[DeadLetterBox]:
        """Connect to the dead letters; ``beside_consumers``: also while others consume from them."""
        ...

    def queues(self) -> AbstractAsyncContextManager[QueueBox]:
        """Connect to the queues."""
        ...

    def permissions(self, request: PermissionRequest) -> tuple[Sequence[str], Any]:
        """Return the fewest permissions that a user needs: as commands, and as what JSON holds.

        Raises:
            ConfigurationError: the request cannot be fulfilled.
        """
        ...
