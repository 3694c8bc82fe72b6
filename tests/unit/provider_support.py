"""Providers that record what happens to them, and a server and a client in memory."""

from __future__ import annotations

import contextvars
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

from rabibridge_core import Depends
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_testing import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

events: list[str] = []
setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="unset")


@asynccontextmanager
async def served(*functions: Callable[..., Any], **limits: Any) -> AsyncIterator[tuple[RpcServer, RpcClient]]:
    broker = MemoryBroker()
    server = RpcServer(transport=broker.transport())
    for function in functions:
        server.add_service(function, **limits)
    async with server.serving(), RpcClient(transport=broker.transport()) as client:
        yield server, client


async def asynchronous() -> AsyncIterator[str]:
    events.append("enter async")
    try:
        yield "async"
    except BaseException as error:
        events.append(f"async sees {type(error).__name__}")
        raise
    finally:
        events.append("leave async")


def synchronous() -> Iterator[str]:
    events.append("enter sync")
    token = setting.set("set")
    try:
        yield "sync"
    except BaseException as error:
        events.append(f"sync sees {type(error).__name__}")
        raise
    finally:
        setting.reset(token)  # it fails in another context than that of set()
        events.append("leave sync")


async def coroutine(one: str = Depends(asynchronous)) -> str:
    return f"coroutine of {one}"


def plain(two: Annotated[str, Depends(synchronous)]) -> str:
    return f"plain of {two}"
