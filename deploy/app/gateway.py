"""The gateway of the example deployment: HTTP in front, calls behind. ``uvicorn gateway:app``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rabibridge import CallTimeoutError, NoRouteError, QueueFullError, RMQClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Connect before the first request, and close after the last."""
    async with RMQClient(name="gateway") as client:
        app.state.client = client
        yield


async def add(request: Request) -> Response:
    """Add two numbers, or say why not."""
    client: RMQClient = request.app.state.client
    try:
        a, b = int(request.query_params["a"]), int(request.query_params["b"])
    except (KeyError, ValueError):
        return JSONResponse({"detail": "a and b must be whole numbers"}, 422)
    try:
        return JSONResponse({"sum": await client.remote_call("add", (a, b), timeout=5)})
    except QueueFullError as error:
        return JSONResponse({"detail": "busy"}, 503, {"Retry-After": str(max(1, round(error.retry_after or 1)))})
    except NoRouteError:
        return JSONResponse({"detail": "nobody serves this"}, 502)
    except CallTimeoutError:
        return JSONResponse({"detail": "too late"}, 504)


async def ready(request: Request) -> Response:
    """Tell the load balancer whether calls can be sent."""
    client: RMQClient = request.app.state.client
    health = client.health()
    return JSONResponse({"reasons": list(health.reasons)}, 200 if health else 503)


async def alive(request: Request) -> Response:
    """Tell that the event loop runs."""
    return JSONResponse({})


app = Starlette(
    routes=[Route("/add", add), Route("/readyz", ready), Route("/livez", alive)],
    lifespan=lifespan,
)
