"""The same pages as an ASGI application, to be mounted in a web application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_telemetry.health_server.responses import respond
from rabibridge_telemetry.health_server.sources import ProgramSource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge_telemetry.health_server.sources import HasHealth

__all__ = ["HealthApp"]


class HealthApp:
    """An ASGI application with ``/metrics``, ``/healthz`` and ``/readyz``.

    Mount it in a web application, or let any ASGI server serve it. Make it before the clients and servers whose calls
    are to be counted: those that were made before count nothing.

    Example::

        health = HealthApp()
        app = Starlette(routes=[..., Mount("/internal", health)])
        client = RMQClient()
        health.watch(client)

    Whoever can reach it can read it: it names services and says how they are called. The web application decides who.
    """

    def __init__(self, *parts: HasHealth) -> None:
        """Tell about these clients and servers, which run on the event loop of the application.

        Args:
            *parts: those that have to be healthy for ``/readyz``; more can follow with :meth:`watch`.
        """
        self._parts = list(parts)
        self._source = ProgramSource(self._parts)

    def watch(self, part: HasHealth) -> None:
        """Let ``/readyz`` tell about this client or server, too."""
        self._parts.append(part)

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        response = await respond(self._source, scope["method"], path, headers, None)
        await send({
            "type": "http.response.start",
            "status": response.status,
            "headers": [
                (b"content-type", response.content_type.encode()),
                (b"content-length", str(len(response.body)).encode()),
                (b"cache-control", b"no-store"),
                *((name.lower().encode(), value.encode()) for name, value in response.headers),
            ],
        })  # fmt: skip
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})
