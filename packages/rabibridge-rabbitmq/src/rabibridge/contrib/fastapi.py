"""RabiBridge in applications of FastAPI: a dependency, errors as problem details, streams, health.

``pip install 'rabibridge-rabbitmq[fastapi]'``. Everything of :mod:`rabibridge.contrib.starlette` is here, too.
"""

from __future__ import annotations

from typing import Any

try:
    from fastapi import APIRouter, FastAPI, Response
except ImportError as error:
    raise ImportError("rabibridge.contrib.fastapi needs FastAPI: pip install 'rabibridge-rabbitmq[fastapi]'") from error
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI looks its name up here

from rabibridge.contrib import starlette
from rabibridge.contrib.starlette import BrowserSocket, ServerEvent, SSEResponse, progress_events
from rabibridge.mq import RMQClient  # noqa: TC001 - the same
from rabibridge_core.rpc import ShardedClient  # noqa: TC001 - the same

__all__ = ["BrowserSocket", "Gateway", "SSEResponse", "ServerEvent", "progress_events"]

_PROBLEM = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "correlation_id": {"type": "string"},
        "retry_after": {"type": "integer"},
    },
    "required": ["type", "title", "status", "detail", "code"],
}


class Gateway(starlette.Gateway):
    """Lets an application of FastAPI call services: clients, deadlines, cancellation, and errors as HTTP responses.

    Its arguments are those of :class:`rabibridge.contrib.starlette.Gateway`.

    Example::

        gateway = Gateway(timeout=10)
        app = FastAPI()
        gateway.install(app)
        Rpc = Annotated[RMQClient, Depends(gateway.client)]

        @app.get("/sum")
        async def total(a: int, b: int, rpc: Rpc) -> int:
            return await rpc.call(add, a, b)
    """

    async def client(self, connection: HTTPConnection) -> RMQClient:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the client; a dependency: ``Annotated[RMQClient, Depends(gateway.client)]``.

        Calls inherit the deadline of the request. The request is cancelled when its browser goes away, and the
        functions that it has called with it.

        Raises:
            RuntimeError: the lifespan of the application does not run.
        """
        return super().client(connection)

    async def sharded(self, connection: HTTPConnection) -> ShardedClient:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        """Return a client of several brokers; a dependency: ``Annotated[ShardedClient, Depends(gateway.sharded)]``.

        Raises:
            ConfigurationError: it is a client of one broker.
            RuntimeError: the lifespan of the application does not run.
        """
        return super().sharded(connection)

    def named(self, name: str) -> Any:
        """Return a dependency like :meth:`client` for one of ``clients``.

        Raises:
            ConfigurationError: there is none of that name.
        """
        get = super().named(name)

        async def client(connection: HTTPConnection) -> RMQClient:
            return get(connection)

        return client

    def health_router(self) -> APIRouter:
        """Return a router with ``/healthz`` and ``/readyz``: see ``health_routes``."""
        router = APIRouter(tags=["health"])

        @router.get("/healthz")
        async def alive() -> dict[str, str]:
            return {"status": "alive"}

        @router.get("/readyz", response_model=None)
        async def ready() -> Response:
            return self._readiness()

        return router

    def install(self, app: FastAPI) -> None:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        """Make it a part of an application, before that starts: its lifespan, a middleware, and the handler of errors.

        The clients are connected before the application's own lifespan begins, and closed after its end. A handler that
        the application has for one class of errors comes first.
        """
        super().install(app)

    @property
    def responses(self) -> dict[int | str, dict[str, Any]]:
        """What ``FastAPI(responses=gateway.responses)`` shows in the OpenAPI document."""
        described = ((422, "Invalid arguments"), (502, "Bad gateway"), (503, "Busy"), (504, "Too late"))
        return {
            status: {"description": text, "content": {"application/problem+json": {"schema": _PROBLEM}}}
            for status, text in described
        }
