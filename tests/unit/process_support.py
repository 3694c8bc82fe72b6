"""A server whose functions run in child processes, and a client, in memory."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_testing import MemoryBroker
from tests.support.proc import children_of
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["exists", "gone", "noted", "served"]


@asynccontextmanager
async def served(*functions: Callable[..., Any], **limits: Any) -> AsyncIterator[tuple[RpcServer, RpcClient]]:
    """Serve functions in one child process, unless the limits say otherwise."""
    broker = MemoryBroker()
    server = RpcServer(transport=broker.transport())
    for function in functions:
        server.add_service(function, **{"executor": "process", "fetch_size": 1, **limits})
    async with server.serving(), RpcClient(transport=broker.transport()) as client:
        yield server, client


def exists(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


async def gone(*pids: int) -> None:
    """Wait until none of these processes runs."""
    await until(lambda: not any(map(exists, pids)))


async def noted(file: Path) -> list[int]:
    """Wait until a function has written process ids to a file."""
    found: list[int] = []

    def look() -> bool:
        found.extend(map(int, file.read_text().split()) if file.exists() else ())
        return bool(found)

    await until(look)
    return found


def children() -> set[int]:
    """Return the children of this process that were not reaped, zombies too."""
    return children_of(os.getpid())
