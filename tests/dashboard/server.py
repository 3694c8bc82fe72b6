"""Serves a dashboard on a port of its own, over a state that a test makes by hand."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from rabibridge._dashboard.access import LOOPBACK_HOSTS, AccessGuard
from rabibridge._dashboard.application import routes
from rabibridge._dashboard.event_stream import Publisher
from rabibridge._dashboard.history import History
from tests.support.uvicorn_server import on_uvicorn
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from starlette.types import ASGIApp

__all__ = ["Letters", "States", "empty_state", "exchange", "serving"]


def empty_state(**changes: Any) -> dict[str, Any]:
    return {
        "time": 1_800_000_000.0,
        "broker": "amqp://calls@rabbit-1:5672/",
        "problem": None,
        "actions": False,
        "services": [],
        "workers": [],
        "errors": [],
        "notes": [],
        **changes,
    }


class States:
    """States that the test publishes."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self.publisher = Publisher()
        self.history = History()
        self.watched = 0
        if state is not None:
            self.publisher.publish(state)

    def everything(self) -> dict[str, Any]:
        return {"state": self.publisher.latest, "history": self.history.to_json()}

    def watch(self) -> Callable[[], None]:
        self.watched += 1

        def gone() -> None:
            self.watched -= 1

        return gone


class Letters:
    """Dead letters that the test makes up."""

    def __init__(self, *letters: dict[str, Any]) -> None:
        self.letters = list(letters)
        self.requeued: list[str] = []
        self.timeout: float | None = None

    async def look(self, limit: int) -> dict[str, Any]:
        return {"time": 0.0, "total": len(self.letters), "letters": self.letters[:limit]}

    async def requeue(self, letters: Sequence[str], timeout: float | None) -> dict[str, Any]:
        self.requeued += letters
        self.timeout = timeout
        return {"said": f"{len(letters)} requeued", "left": 0}


def application(
    states: States | None = None,
    letters: Letters | None = None,
    *,
    hosts: Sequence[str] = LOOPBACK_HOSTS,
    token: str | None = None,
    allow_actions: bool = False,
) -> ASGIApp:
    app = routes(states or States(empty_state()), letters or Letters(), allow_actions=allow_actions)
    return AccessGuard(app, hosts=hosts, token=token)


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, states: States | None = None) -> AsyncIterator[int]:
    """Serve an application on the loopback interface; give its port. At the end, the streams of ``states`` end."""
    ending = states.publisher.closed.set if states is not None else lambda: None
    async with on_uvicorn(app, ending=ending, lifespan="auto", ws="none") as port:  # as the command does
        yield port


async def exchange(port: int, request: str | bytes) -> tuple[int, dict[str, str], str]:
    """Send a request as bytes, since libraries write headers such as Host themselves; return status, headers, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = request if isinstance(request, bytes) else request.replace("\n", "\r\n").encode()
    writer.write(sent)
    await writer.drain()
    head = (await soon(reader.readuntil(b"\r\n\r\n"))).decode()
    lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
    body = await soon(reader.readexactly(int(headers.get("content-length", "0"))))
    writer.close()
    return int(lines[0].split()[1]), headers, body.decode()
