"""Browsers that go away, that read slowly, and that come in crowds, on real servers and sockets."""

import asyncio
import json
import socket
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request, WebSocket
from starlette.middleware.base import BaseHTTPMiddleware
from websockets.asyncio.client import connect

from rabibridge import RMQClient
from rabibridge.contrib.fastapi import Gateway, SSEResponse
from rabibridge_testing import FakeBroker
from tests.gateways.conftest import SERVERS, Handlers, events_of, request
from tests.support.uvicorn_server import on_uvicorn
from tests.support.waiting import soon, until


def application(**options: Any) -> FastAPI:
    gateway = Gateway(**options)
    app = FastAPI()
    gateway.install(app)
    app.state.finished = 0
    app.state.gateway = gateway

    @app.get("/hang")
    async def hang(rpc: Annotated[RMQClient, Depends(gateway.client)]) -> None:
        await rpc.call("hang")

    @app.get("/sum")
    async def total(rpc: Annotated[RMQClient, Depends(gateway.client)]) -> int:
        return int(await rpc.call("add", 1, 2))

    @app.post("/upload")
    async def upload(request: Request, rpc: Annotated[RMQClient, Depends(gateway.client)]) -> int:
        length = len(await request.body())
        await rpc.call("add", 1, 2)
        return length

    @app.get("/later")
    async def later(tasks: BackgroundTasks, rpc: Annotated[RMQClient, Depends(gateway.client)]) -> str:
        async def work() -> None:
            await rpc.call("add", 1, 2)
            app.state.finished += 1

        tasks.add_task(work)
        return "accepted"

    @app.get("/events/{name}")
    async def events(
        name: str, rpc: Annotated[RMQClient, Depends(gateway.client)], keep_alive: float = 15, send_timeout: float = 60
    ) -> SSEResponse:
        stream = rpc.stream(name)
        return SSEResponse(stream, keep_alive=keep_alive, send_timeout=send_timeout, start_within=0.1)

    @app.websocket("/socket/{name}")
    async def channel(websocket: WebSocket, name: str, rpc: Annotated[RMQClient, Depends(gateway.client)]) -> None:
        async with gateway.websocket(websocket) as browser:
            await browser.send_all(rpc.stream(name))

    return app


async def pass_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("path", ["/hang", "/events/quiet", "/events/endless"])
async def test_a_browser_that_goes_away_cancels_the_function(server: str, path: str, handlers: Handlers) -> None:
    async with SERVERS[server](application()) as port:
        _, writer = await request(port, path)
        await soon(handlers.begun.wait())
        writer.transport.abort()
        await soon(handlers.cancelled.wait())
        await until(lambda: handlers.running == 0)


async def test_it_does_so_through_a_middleware_that_hides_the_disconnect(handlers: Handlers) -> None:
    for outside in (True, False):
        handlers.begun.clear()
        handlers.cancelled.clear()
        app = application()
        app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
        if not outside:
            app.user_middleware.reverse()
        async with on_uvicorn(app) as port:
            _, writer = await request(port, "/hang")
            await soon(handlers.begun.wait())
            writer.close()
            await soon(handlers.cancelled.wait())


async def test_uploads_and_background_tasks_are_left_alone(handlers: Handlers) -> None:
    app = application()
    async with on_uvicorn(app) as port:
        body = "x" * 300_000
        reader, writer = await request(port, "/upload", method="POST", body=body)
        head = await soon(reader.readuntil(b"\r\n\r\n"))
        assert b"200 OK" in head
        assert await soon(reader.readexactly(6)) == b"300000"
        writer.close()
        reader, writer = await request(port, "/later")
        await soon(reader.readuntil(b"\r\n\r\n"))
        writer.transport.abort()
        await until(lambda: app.state.finished == 1)


async def test_it_can_be_switched_off(handlers: Handlers) -> None:
    async with on_uvicorn(application(cancel_on_disconnect=False, timeout=0.5)) as port:
        _, writer = await request(port, "/hang")
        await soon(handlers.begun.wait())
        writer.transport.abort()
        await soon(handlers.cancelled.wait())  # at the deadline of the request, which still counts


@pytest.mark.parametrize("server", SERVERS)
async def test_a_websocket_that_goes_away_cancels_the_function(server: str, handlers: Handlers) -> None:
    async with SERVERS[server](application()) as port:
        async with connect(f"ws://127.0.0.1:{port}/socket/quiet") as browser:
            assert json.loads(await browser.recv()) == 1
            await soon(handlers.begun.wait())
        await soon(handlers.cancelled.wait())


async def test_comments_keep_an_idle_stream_alive(handlers: Handlers) -> None:
    async with on_uvicorn(application()) as port:
        reader, writer = await request(port, "/events/quiet?keep_alive=0.05")
        text = (await soon(reader.readuntil(b": still here"))).decode()
        assert "data: 1" in text
        writer.close()
        await soon(handlers.cancelled.wait())


async def test_a_browser_that_does_not_read_stops_the_function_and_is_dropped_in_the_end(handlers: Handlers) -> None:
    async with on_uvicorn(application()) as port:
        slow = socket.create_connection(("127.0.0.1", port))
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(b"GET /events/endless?send_timeout=1.5 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await soon(handlers.begun.wait())
        await soon(handlers.cancelled.wait())  # after send_timeout
        # 16 messages of at most 240 KiB and 1 MiB are ahead of the reader; sockets hold some MiB.
        assert handlers.yielded * 1000 < 30 * 2**20
        slow.close()


@pytest.mark.slow
async def test_abandoned_browsers_leave_no_call(handlers: Handlers, fake_broker: FakeBroker) -> None:
    app = application()
    async with on_uvicorn(app) as port:
        for _ in range(10):
            writers = [(await request(port, "/hang"))[1] for _ in range(100)]
            await until(lambda: handlers.running >= 16)
            for writer in writers:
                writer.transport.abort()
            await until(lambda: handlers.running == 0)
        running = app.state.gateway._core.running
        await until(lambda: running.active == 0)
        assert running.clients["default"].pending == 0
        reader, writer = await request(port, "/sum", headers="Connection: close\r\n")
        assert (await soon(reader.read())).endswith(b"3")
        writer.close()
    assert handlers.running == 0


async def test_under_overload_it_answers_503_and_stays_up(fake_broker: FakeBroker) -> None:
    release = asyncio.Event()

    async def hang() -> None:
        await release.wait()

    fake_broker.add_service(hang, queue_size=5, fetch_size=2)
    async with on_uvicorn(application()) as port:

        async def ask() -> int:
            reader, writer = await request(port, "/hang", headers="Connection: close\r\n")
            head = (await soon(reader.read())).decode()
            writer.close()
            if " 503 " in head.splitlines()[0]:
                assert "retry-after: " in head.lower()
                assert '"queue_full"' in head
            return int(head.split()[1])

        asking = [asyncio.create_task(ask()) for _ in range(200)]
        await until(lambda: sum(task.done() for task in asking) >= 193)
        release.set()
        statuses = await asyncio.gather(*asking)
        assert sorted(set(statuses)) == [200, 503]
        assert statuses.count(200) == 7
        assert await ask() == 200


def test_the_parser_of_this_test() -> None:
    assert events_of("event: a\nid: 1\ndata: 2\n\n: x\n\n") == [("a", "1", 2)]
