"""The default executor of an event loop that must work, and end, while the interpreter exits.

``asyncio`` would make a ``ThreadPoolExecutor``, which takes no work once the interpreter exits, and whose threads keep
the process alive while they run. A program that exits may still connect again and look up a host name.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from rabibridge_core._concurrency.daemon_threads import DaemonThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DaemonExecutor"]

P = ParamSpec("P")
T = TypeVar("T")


class DaemonExecutor(ThreadPoolExecutor):
    """Runs work in up to ``limit`` daemon threads. It is a ThreadPoolExecutor because event loops accept no other."""

    def __init__(self, limit: int, name: str) -> None:
        """Start one thread at once: from Python 3.12 on, none can be started while the interpreter exits.

        Raises:
            RuntimeError: no thread can be started.
        """
        super().__init__(limit)
        self._pool = DaemonThreadPool(limit, name)
        self._pool.submit(int)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run ``fn(*args, **kwargs)`` in a thread."""
        return self._pool.submit(lambda: fn(*args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end after the work that waits for them. It never waits for them."""
        self._pool.close(drop_waiting=cancel_futures)
