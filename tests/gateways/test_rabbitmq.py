"""Browsers that go away, over a real RabbitMQ: the function is cancelled on its worker, and its place is free again."""

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from websockets.asyncio.client import connect

from rabibridge import RMQClient, RMQServer
from rabibridge.contrib import fastapi, starlette
from rabibridge.contrib.fastapi import SSEResponse
from tests.gateways.conftest import Handlers, request
from tests.support.uvicorn_server import on_uvicorn
from tests.support.waiting import soon, until


def on_fastapi(url: str) -> FastAPI:
    gateway = fastapi.Gateway(lambda: RMQClient(url=url))
    app = FastAPI()
    gateway.install(app)

    @app.get("/hang")
    async def hang(rpc: Annotated[RMQClient, Depends(gateway.client)]) -> None:
        await rpc.call("hang")

    @app.get("/sum")
    async def total(rpc: Annotated[RMQClient, Depends(gateway.client)]) -> int:
        return int(await rpc.call("add", 1, 2))

    @app.get("/events")
    async def events(rpc: Annotated[RMQClient, Depends(gateway.client)]) -> SSEResponse:
        return SSEResponse(rpc.stream("quiet"))

    @app.websocket("/socket")
    async def channel(websocket: WebSocket, rpc: Annotated[RMQClient, Depends(gateway.client)]) -> None:
        async with gateway.websocket(websocket) as browser:
            await browser.send_all(rpc.stream("quiet"))

    return app


def on_starlette(url: str) -> Starlette:
    gateway = starlette.Gateway(lambda: RMQClient(url=url))

    async def hang(request: Request) -> JSONResponse:
        return JSONResponse(await gateway.client(request).call("hang"))

    async def total(request: Request) -> JSONResponse:
        return JSONResponse(await gateway.client(request).call("add", 1, 2))

    async def events(request: Request) -> starlette.SSEResponse:
        return starlette.SSEResponse(gateway.client(request).stream("quiet"))

    async def channel(websocket: WebSocket) -> None:
        rpc = gateway.client(websocket)
        async with gateway.websocket(websocket) as browser:
            await browser.send_all(rpc.stream("quiet"))

    routes = [Route("/hang", hang), Route("/sum", total), Route("/events", events), WebSocketRoute("/socket", channel)]
    app = Starlette(routes=routes)
    gateway.install(app)
    return app


@pytest.mark.parametrize("make", [on_fastapi, on_starlette], ids=["FastAPI", "Starlette"])
async def test_a_browser_that_goes_away_cancels_the_function_on_its_worker(make: Any, vhost_url: str) -> None:
    functions = Handlers()
    server = RMQServer(url=vhost_url)
    for function in (functions.add, functions.hang, functions.quiet):
        server.add_service(function, name=function.__name__, fetch_size=1)
    async with server.serving(), on_uvicorn(make(vhost_url)) as port:
        for path in ("/hang", "/events"):
            _, writer = await request(port, path)
            await soon(functions.begun.wait())
            writer.transport.abort()
            await _is_cancelled(functions)
        async with connect(f"ws://127.0.0.1:{port}/socket") as browser:
            await soon(browser.recv())
            await soon(functions.begun.wait())
        await _is_cancelled(functions)
        # Each function has one place: it is free, as the next browser is served at once.
        _, writer = await request(port, "/hang")
        await soon(functions.begun.wait())
        writer.transport.abort()
        await _is_cancelled(functions)
        reader, writer = await request(port, "/sum", headers="Connection: close\r\n")
        assert (await soon(reader.read())).endswith(b"3")
        writer.close()


async def _is_cancelled(functions: Handlers) -> None:
    await soon(functions.cancelled.wait())
    await until(lambda: functions.running == 0)
    functions.begun.clear()
    functions.cancelled.clear()
