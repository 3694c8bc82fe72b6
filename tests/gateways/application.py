"""An application of FastAPI with a gateway, for several tests."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI, WebSocket
from fastapi.responses import JSONResponse

from rabibridge import (
    RMQClient,
)
from rabibridge.contrib.fastapi import Gateway, SSEResponse, progress_events

gateway = Gateway(timeout=20, criticalities=("batch",), forward_headers=("traceparent", "tenant"))
Rpc = Annotated[RMQClient, Depends(gateway.client)]
billing = Gateway(clients={"billing": lambda: RMQClient(name="billing")})
app = FastAPI()  # at module level, as applications are: every test runs it on a loop of its own
gateway.install(app)
app.include_router(gateway.health_router())


@app.get("/sum")
async def total(a: int, b: int, rpc: Rpc) -> int:
    result: int = await rpc.call("add", a, b)
    return result


@app.get("/told")
async def told(rpc: Rpc) -> Any:
    return await rpc.call("describe")


@app.get("/background")
async def background(rpc: Rpc) -> Any:
    return JSONResponse({})


@app.get("/call/{name}")
async def call(name: str, rpc: Rpc) -> Any:
    return await rpc.remote_call(name)


@app.get("/events/{name}/{number}")
async def events(name: str, number: int, rpc: Rpc) -> SSEResponse:
    return SSEResponse(rpc.stream(name, number), retry=2)


@app.get("/progress")
async def progress(rpc: Rpc) -> SSEResponse:
    return SSEResponse(progress_events(lambda report: rpc.options(on_progress=report).call("work")))


@app.websocket("/socket/{name}/{number}")
async def socket(websocket: WebSocket, name: str, number: int, rpc: Rpc) -> None:
    async with gateway.websocket(websocket) as browser:
        await browser.send_all(rpc.stream(name, number))


@app.websocket("/doubled")
async def doubled(websocket: WebSocket, rpc: Rpc) -> None:
    async with gateway.websocket(websocket) as browser:
        await browser.send_all(rpc.stream("doubled", browser.messages()))
