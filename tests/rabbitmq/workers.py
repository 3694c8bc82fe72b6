"""Server processes of their own, which tests may signal and kill."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.processes import Process, Processes


class Workers:
    """The worker processes of one test; each runs worker.py.

    Attributes:
        name: what the names of their services end with.
    """

    def __init__(self, processes: Processes, url: str, unique_name: Callable[[str], str]) -> None:
        self.name = unique_name("worker")
        self._url = url
        self._processes = processes

    async def start(self) -> Process:
        """Return one that takes calls."""
        environment = {"RABIBRIDGE_URL": self._url, "WORKER_NAME": self.name}
        worker = await self._processes.start("tests.rabbitmq.worker", environment)
        assert await worker.line() == "ready", worker.log.read_text()
        return worker


async def started(worker: Process, count: int) -> list[str]:
    """Wait until a worker has started so many calls."""
    return [await worker.line() for _ in range(count)]
