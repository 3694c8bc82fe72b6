"""What all workers together have answered, and who has not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_core.introspection.workers import WorkerStatus

__all__ = ["DeafService", "Pong", "Workers"]


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer of one worker to a ping.

    Attributes:
        worker: its name.
        id: tells it apart from all others, also from one of the same name and from itself before a restart.
        host: the name of its machine.
        pid: the number of its process there.
        version: of RabiBridge.
        time: when it answered, in seconds since 1970 by its clock.
        seconds: how long the answer took, from sending the ping.
        clock_difference: how far its clock is ahead of that of the asker, in seconds, at most half of ``seconds`` off.
    """

    worker: str
    id: str
    host: str = ""
    pid: int = 0
    version: str = ""
    time: float = 0.0
    seconds: float = 0.0
    clock_difference: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DeafService:
    """A service of which workers take calls that have not answered: deaf, not dead.

    They stand still, are cut off for the moment, run an older version, or have introspection switched off. Whoever
    looks at queues of the broker finds their consumers.

    Attributes:
        name: the name of the service.
        consumers: how many take calls from its queue, as the broker says.
        answered: how many of those have answered.
        waiting: how many calls wait in its queue.
    """

    name: str
    consumers: int
    answered: int
    waiting: int

    @property
    def silent(self) -> int:
        """How many have not answered."""
        return max(0, self.consumers - self.answered)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "name": self.name,
            "consumers": self.consumers,
            "answered": self.answered,
            "silent": self.silent,
            "waiting": self.waiting,
        }


@dataclass(frozen=True, slots=True)
class Workers:
    """What ``client.workers()`` returns: iterate over it for the workers that have answered, sorted by name.

    Attributes:
        workers: those that have answered.
        deaf: the services with workers that take calls and have not answered; empty: there is none as far as is known.
            Known are the services of workers that have answered, those that this client has called or has heard of
            before, and those that were named.
        seconds: how long was waited for answers.
        refused: answers that said no, as ``(worker, reason)``: for example of workers that want a signature.
    """

    workers: tuple[WorkerStatus, ...] = ()
    deaf: tuple[DeafService, ...] = ()
    seconds: float = 0.0
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def complete(self) -> bool:
        """Whether no worker is known that has not answered."""
        return not self.deaf and not self.refused

    def __iter__(self) -> Iterator[WorkerStatus]:
        """Iterate over the workers that have answered."""
        return iter(self.workers)

    def __len__(self) -> int:
        """Return how many workers have answered."""
        return len(self.workers)

    def __getitem__(self, index: int) -> WorkerStatus:
        """Return one of the workers that have answered."""
        return self.workers[index]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "workers": [worker.to_json() for worker in self.workers],
            "deaf": [service.to_json() for service in self.deaf],
            "complete": self.complete,
            "seconds": self.seconds,
            "refused": [list(refused) for refused in self.refused],
        }
