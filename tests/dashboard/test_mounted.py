"""The dashboard inside an application of another, over the in-memory broker."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Mount

from rabibridge import RMQClient, RMQServer
from rabibridge.dashboard import Dashboard
from tests.dashboard.server import exchange, serving
from tests.support.waiting import until_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_testing import FakeBroker


async def add(a: int, b: int) -> int:
    return a + b


async def test_it_shows_what_the_application_calls(fake_broker: FakeBroker) -> None:
    server = RMQServer()
    server.add_service(add)
    async with RMQClient() as client, server.serving():
        assert await client.remote_call("add", (1, 2)) == 3
        dashboard = Dashboard(client=client, interval=0.05)

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            yield
            await dashboard.close()

        app = Starlette(routes=[Mount("/rabibridge", dashboard)], lifespan=lifespan)
        async with serving(app) as port:
            _, _, page = await exchange(port, "GET /rabibridge/ HTTP/1.1\nHost: localhost\n\n")
            script, _, _ = await exchange(port, "GET /rabibridge/static/dashboard.js HTTP/1.1\nHost: localhost\n\n")

            async def counted() -> bool:
                _, _, body = await exchange(port, "GET /rabibridge/api/state HTTP/1.1\nHost: localhost\n\n")
                return [(row["name"], row["calls"]) for row in json.loads(body)["services"]] == [("add", 1)]

            await until_true(counted)

    assert 'src="static/dashboard.js"' in page
    assert script == 200
    assert client.state.value == "closed"


async def test_the_token_is_for_the_path_of_the_dashboard(fake_broker: FakeBroker) -> None:
    token = "a-token-of-some-length"
    async with RMQClient() as client:
        app = Starlette(routes=[Mount("/rabibridge", Dashboard(client=client, token=token))])
        async with serving(app) as port:
            get = f"GET /rabibridge/?token={token} HTTP/1.1\nHost: localhost\n\n"
            status, headers, _ = await exchange(port, get)

    assert status == 303
    assert headers["location"] == "/rabibridge/"
    assert "path=/rabibridge/" in headers["set-cookie"]


async def test_an_outage_is_told_and_ends(fake_broker: FakeBroker) -> None:
    async with RMQClient() as client:
        dashboard = Dashboard(client=client, interval=0.05)
        async with serving(Starlette(routes=[Mount("/", dashboard)])) as port:

            async def problem() -> str | None:
                _, _, body = await exchange(port, "GET /api/state HTTP/1.1\nHost: localhost\n\n")
                told: str | None = json.loads(body)["problem"]
                return told

            async def fine() -> bool:
                return await problem() is None

            async def broken() -> bool:
                return "ConnectionLostError" in (await problem() or "")

            await until_true(fine)
            fake_broker.lose_connection(restore=False)
            await until_true(broken)
            fake_broker.restore()
            await until_true(fine)
            await asyncio.wait_for(dashboard.close(), 60)
