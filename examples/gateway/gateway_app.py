"""A web page that calls the workers: ``uvicorn gateway_app:app``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Query
from fastapi.responses import FileResponse

from rabibridge import RMQClient
from rabibridge.contrib.fastapi import Gateway, SSEResponse, progress_events

gateway = Gateway(stream_timeout=600)
app = FastAPI(responses=gateway.responses)
gateway.install(app)
app.include_router(gateway.health_router())

Rpc = Annotated[RMQClient, Depends(gateway.client)]
Pages = Annotated[int, Query(ge=1, le=10_000)]


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"))


@app.post("/renders")
async def render(pages: Pages, rpc: Rpc) -> SSEResponse:
    return SSEResponse(progress_events(lambda report: rpc.options(on_progress=report).call("render", pages)))


@app.get("/workers")
async def workers(rpc: Rpc) -> list[dict[str, int]]:
    return [reply.result async for reply in rpc.options(timeout=2).broadcast("render_counts") if reply.error is None]
