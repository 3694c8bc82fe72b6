"""A gateway whose client is one of several brokers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from httpx import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002 - FastAPI looks its name up here
from starlette.responses import JSONResponse
from starlette.routing import Route

from rabibridge import ConfigurationError, RMQClient, ShardedClient
from rabibridge.contrib import fastapi, starlette
from rabibridge_core.rpc import RpcServer
from rabibridge_testing.memory import forget_broker, memory_broker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAMES = ("gate-east", "gate-west")


def sharded() -> ShardedClient:
    return ShardedClient({name: f"memory://{name}" for name in NAMES})


@pytest.fixture
async def brokers() -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for name in NAMES:
            server = RpcServer(url=f"memory://{name}")
            server.add_service(_where(name), name="where")
            server.add_service(_stuck, name="stuck")
            await stack.enter_async_context(server.serving())
        yield
        for name in NAMES:
            memory_broker(name).restore()
    for name in NAMES:
        forget_broker(name)


def _where(name: str) -> Any:
    async def where() -> str:
        return name

    return where


async def _stuck() -> None:
    await asyncio.Event().wait()


@pytest.mark.usefixtures("brokers")
async def test_fastapi_calls_over_all_brokers_and_goes_on_without_one() -> None:
    gateway = fastapi.Gateway(sharded, timeout=20)
    app = FastAPI()
    gateway.install(app)
    app.include_router(gateway.health_router())
    injected = Annotated[ShardedClient, Depends(gateway.sharded)]

    async def where(rpc: ShardedClient, key: str | None = None) -> Any:
        return await (rpc.options(idempotent=True) if key is None else rpc.for_key(key)).call("where")

    async def stuck(rpc: ShardedClient) -> Any:
        return await rpc.call("stuck")

    # The annotations are looked up in the module: these functions have them from here.
    for function in (where, stuck):
        function.__annotations__["rpc"] = injected
        app.get(f"/{function.__name__}")(function)
    async with gateway.connected(), AsyncClient(transport=ASGITransport(app), base_url="http://test") as browser:
        assert {(await browser.get("/where")).json() for _ in range(40)} == set(NAMES)
        assert len({(await browser.get("/where?key=a")).json() for _ in range(10)}) == 1
        assert (await browser.get("/readyz")).json() == {
            "status": "ready",
            "clients": {"default": {"ready": True, "state": "ready"}},
        }
        late = await browser.get("/stuck", headers={"Request-Timeout": "0.2"})
        assert (late.status_code, late.json()["status"]) == (504, 504)
        memory_broker(NAMES[0]).lose_connection(restore=False)
        assert {(await browser.get("/where")).json() for _ in range(10)} == {NAMES[1]}
        assert (await browser.get("/readyz")).status_code == 200


@pytest.mark.usefixtures("brokers")
async def test_starlette_gets_it_for_a_request_and_refuses_a_client_of_one_broker() -> None:
    gateway = starlette.Gateway(sharded)
    single = starlette.Gateway(lambda: RMQClient(url=f"memory://{NAMES[0]}"))

    async def where(request: Request) -> JSONResponse:
        return JSONResponse(await gateway.sharded(request).call("where"))

    async def wrong(request: Request) -> JSONResponse:
        with pytest.raises(ConfigurationError, match=r"use gateway\.client"):
            single.sharded(request)
        return JSONResponse(await single.client(request).call("where"))

    for one, function in ((gateway, where), (single, wrong)):
        app = Starlette(routes=[Route("/", function)])
        one.install(app)
        async with one.connected(), AsyncClient(transport=ASGITransport(app), base_url="http://test") as browser:
            assert (await browser.get("/")).json() in NAMES
