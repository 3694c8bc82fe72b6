"""The handlers, which can be served under any name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from benchmarks.usage import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

WORK = 0.002
"""CPU seconds per call of the CPU-bound handler."""
REST = 0.02
"""Seconds that the waiting handler sleeps."""


def burn(loops: int) -> None:
    """Burn CPU in pure Python."""
    total = 0
    for number in range(loops):
        total += number * number % 7


def loops_for(seconds: float) -> int:
    """Return how many iterations take ``seconds`` of CPU on this machine, from the fastest of ten runs."""
    tries = []
    for _ in range(10):
        start = cpu_seconds()
        burn(300_000)
        tries.append(cpu_seconds() - start)
    return round(300_000 * seconds / min(tries))


def handler(kind: str, name: str, loops: int) -> Callable[[Any], Any]:
    """Return a function that is served as ``name``.

    Args:
        kind: ``echo``; ``work``, a function in a thread; ``work_on_loop``, a coroutine function that blocks; ``rest``.
        name: the name of the service.
        loops: iterations of the CPU-bound handlers.
    """
    function = _in_thread(loops) if kind == "work" else _on_loop(kind, loops)
    function.__name__ = name
    return function


def _in_thread(loops: int) -> Callable[[Any], Any]:
    def work(x: Any) -> Any:
        burn(loops)
        return x

    return work


def _on_loop(kind: str, loops: int) -> Callable[[Any], Any]:
    async def echo(x: Any) -> Any:
        return x

    async def work(x: Any) -> Any:
        burn(loops)
        return x

    async def rest(x: Any) -> Any:
        await asyncio.sleep(REST)
        return x

    return {"echo": echo, "work_on_loop": work, "rest": rest}[kind]
