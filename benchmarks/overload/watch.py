"""Samples the length of a queue and the broker's memory, twice a second."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Self

import pika  # type: ignore[import-untyped]  # it ships no types
from pika.exceptions import AMQPError  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from types import TracebackType


_EVERY = 0.5


class Watch:
    """Samples a queue and the broker's memory while the context is open; then deletes the queue."""

    def __init__(self, url: str, queue: str, pid: int | None) -> None:
        """Sample ``queue`` of the virtual host in ``url``, and the memory of process ``pid``."""
        self._queue = queue
        self._pid = pid
        self._connection = pika.BlockingConnection(pika.URLParameters(f"{url}?heartbeat=0"))
        self._channel = self._connection.channel()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.samples: list[tuple[float, int, int | None]] = []
        """Time (by :func:`time.monotonic`), waiting messages, and resident bytes of the broker."""
        self.error: AMQPError | None = None
        """Why sampling stopped early, if it did."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self.error is None:
            self._channel.queue_delete(self._queue)
            self._connection.close()

    def _look(self) -> None:
        begun = monotonic()
        try:
            while not self._over.wait(max(0.0, begun + len(self.samples) * _EVERY - monotonic())):
                waiting = self._channel.queue_declare(self._queue, passive=True).method.message_count
                self.samples.append((monotonic(), waiting, self._memory()))
        except AMQPError as error:
            self.error = error

    def _memory(self) -> int | None:
        if self._pid is None:
            return None
        return int(Path(f"/proc/{self._pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
