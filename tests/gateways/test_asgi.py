"""The middleware for frameworks without a gateway of their own: with Litestar, which lets handlers run to their end."""

import asyncio
from typing import Any

import pytest
from litestar import Litestar, Request, get, post
from litestar.background_tasks import BackgroundTask
from litestar.response import Response, Stream

from rabibridge import RMQClient
from rabibridge.contrib.asgi import CancelOnDisconnect
from rabibridge.contrib.events import EVENT_HEADERS, event_stream
from tests.gateways.conftest import SERVERS, Handlers, request
from tests.support.uvicorn_server import on_uvicorn
from tests.support.waiting import soon, until


def application(rpc: RMQClient, *, cancelling: bool = True) -> Litestar:
    @get("/hang")
    async def hang() -> None:
        await rpc.call("hang")

    @get("/events")
    async def events() -> Stream:
        return Stream(event_stream(rpc.stream("quiet")), headers=EVENT_HEADERS, media_type="text/event-stream")

    @post("/upload")
    async def upload(request: Request[Any, Any, Any]) -> int:
        return len(await request.body()) + int(await rpc.call("add", 1, 2))

    @get("/later")
    async def later() -> Response[str]:
        async def work() -> None:
            await rpc.call("add", 1, 2)
            app.state.done.set()

        return Response("accepted", background=BackgroundTask(work))

    middleware: list[Any] = [CancelOnDisconnect] if cancelling else []
    app = Litestar([hang, events, upload, later], middleware=middleware, openapi_config=None)
    app.state.done = asyncio.Event()
    return app


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("path", ["/hang", "/events"])
async def test_a_browser_that_goes_away_cancels_the_function(server: str, path: str, handlers: Handlers) -> None:
    async with RMQClient() as rpc, SERVERS[server](application(rpc)) as port:
        _, writer = await request(port, path)
        await soon(handlers.begun.wait())
        writer.transport.abort()
        await soon(handlers.cancelled.wait())
        await until(lambda: handlers.running == 0)


async def test_without_it_the_handler_runs_on(handlers: Handlers) -> None:
    async with RMQClient() as rpc, on_uvicorn(application(rpc, cancelling=False)) as port:
        _, writer = await request(port, "/hang")
        await soon(handlers.begun.wait())
        writer.transport.abort()
        await asyncio.sleep(0.3)  # nothing tells that nothing happens
        assert handlers.running == 1
        await rpc.close()


async def test_uploads_and_background_tasks_are_left_alone(handlers: Handlers) -> None:
    async with RMQClient() as rpc:
        app = application(rpc)
        async with on_uvicorn(app) as port:
            headers = "Content-Type: application/octet-stream\r\nConnection: close\r\n"
            reader, writer = await request(port, "/upload", method="POST", headers=headers, body="x" * 300_000)
            assert (await soon(reader.read())).endswith(b"300003")
            writer.close()
            reader, writer = await request(port, "/later")
            await soon(reader.readuntil(b"\r\n\r\n"))
            writer.transport.abort()
            await soon(app.state.done.wait())
