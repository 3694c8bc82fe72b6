"""The routes of the dashboard."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rabibridge._dashboard.event_stream import EventStream
from rabibridge._dashboard.static_files import page, static_file
from rabibridge_core.errors import RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from rabibridge._dashboard.event_stream import Publisher

__all__ = ["DeadLetterSource", "StateSource", "routes"]

_MAX_BODY = 64 * 1024
_MAX_LETTERS = 500
_MAX_TIMEOUT = 86_400


class StateSource(Protocol):
    """Where the state of services and workers comes from."""

    publisher: Publisher

    def everything(self) -> dict[str, Any]:
        """Return the newest state and the history of the plots."""
        ...

    def watch(self) -> Callable[[], None]:
        """Keep the state up to date until the function that this returns is called."""
        ...


class DeadLetterSource(Protocol):
    """Looks at dead letters and puts them back."""

    async def look(self, limit: int) -> dict[str, Any]:
        """Return the first letters, and how many there are."""
        ...

    async def requeue(self, letters: Sequence[str], timeout: float | None) -> dict[str, Any]:
        """Put letters back into the queues of their services, each with so many seconds if that is given."""
        ...


def routes(states: StateSource, dead_letters: DeadLetterSource, *, allow_actions: bool) -> Starlette:
    """Return the application without its guard.

    Args:
        states: where the state comes from.
        dead_letters: looks at dead letters.
        allow_actions: whether dead letters may be requeued.
    """

    async def index(request: Request) -> Response:
        _only(request)
        return page()

    async def static(request: Request) -> Response:
        _only(request)
        return static_file(request.path_params["name"])

    async def state(request: Request) -> Response:
        _only(request)
        gone = states.watch()
        try:
            await states.publisher.newer_than(0)
        finally:
            gone()
        return JSONResponse(states.publisher.latest)

    async def letters(request: Request) -> Response:
        _only(request, "limit")
        return JSONResponse(await dead_letters.look(_limit(request.query_params.get("limit", "100"))))

    async def requeue(request: Request) -> Response:
        _only(request)
        if not allow_actions:
            raise HTTPException(403, "This dashboard only shows: start it with --allow-actions to requeue letters.\n")
        return JSONResponse(await dead_letters.requeue(*await _chosen(request)))

    return Starlette(
        routes=[
            Route("/", index),
            Route("/static/{name}", static),
            Route("/api/state", state),
            Route("/api/events", EventStream(states, states.watch), methods=["GET"]),
            Route("/api/dead", letters),
            Route("/api/dead/requeue", requeue, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _http_error, RabiBridgeError: _broker_error},
    )


def _only(request: Request, *allowed: str) -> None:
    unknown = [name for name in request.query_params if name not in allowed]
    if unknown or len(request.query_params.multi_items()) > len(allowed):
        raise HTTPException(400, f"Unknown or repeated query parameter; allowed: {', '.join(allowed) or 'none'}.\n")


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 3 and 1 <= int(text) <= _MAX_LETTERS):
        raise HTTPException(400, f"limit must be a number from 1 to {_MAX_LETTERS}.\n")
    return int(text)


async def _chosen(request: Request) -> tuple[list[str], float | None]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY:
            raise HTTPException(413, f"The body is longer than {_MAX_BODY} bytes.\n")
    try:
        wanted = json.loads(body)
        chosen, timeout = wanted["letters"], wanted.get("timeout")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        chosen, timeout = None, None
    letters = [letter for letter in chosen if isinstance(letter, str)] if isinstance(chosen, list) else []
    if not 1 <= len(letters) <= _MAX_LETTERS or letters != chosen:
        raise HTTPException(400, f'The body must be {{"letters": [...]}} with 1 to {_MAX_LETTERS} ids.\n')
    if timeout is not None and not (type(timeout) in {int, float} and 0 < timeout <= _MAX_TIMEOUT):
        raise HTTPException(400, f"timeout must be a number of seconds up to {_MAX_TIMEOUT}, or null.\n")
    return letters, timeout


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return PlainTextResponse(error.detail, error.status_code, error.headers)


async def _broker_error(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", 502)
