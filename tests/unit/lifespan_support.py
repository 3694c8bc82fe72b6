"""A lifespan, providers that live as long as the process, and a function that needs them."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from rabibridge_core import Depends
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_testing import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

events: list[str] = []


class Pool:
    def __init__(self, name: str = "pool") -> None:
        self.name = name


class Cache:
    pass


@asynccontextmanager
async def lifespan(server: RpcServer) -> AsyncIterator[Pool]:
    assert not server.health()
    events.append("enter lifespan")
    try:
        yield Pool()
    finally:
        events.append("leave lifespan")


async def connections(pool: Pool = Depends()) -> AsyncIterator[str]:
    events.append("enter connections")
    try:
        yield f"connections of {pool.name}"
    finally:
        events.append("leave connections")


def index() -> Iterator[sqlite3.Connection]:
    events.append("enter index")
    connection = sqlite3.connect(":memory:")
    try:
        yield connection
    finally:
        connection.close()  # in the thread that has opened it
        events.append("leave index")


async def use(
    number: int,
    pool: Pool = Depends(),
    shared: str = Depends(connections, scope="process"),
    db: sqlite3.Connection = Depends(index, scope="process"),
) -> list[Any]:
    events.append("call")
    return [number, pool.name, shared, type(db).__name__]


def make(*functions: Callable[..., Any], **options: Any) -> tuple[RpcServer, RpcClient]:
    broker = MemoryBroker()
    server = RpcServer(transport=broker.transport(), **options)
    for function in functions:
        server.add_service(function)
    return server, RpcClient(transport=broker.transport())
