"""A worker of ours and one of RabiBridge 0.1.2 serve one queue."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import ConfigurationError, RMQClient, RMQServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.interop.conftest import Peers
    from tools.peers import PeerProcess

    Serve = Callable[..., Awaitable[RMQServer]]

LIMITS = {"queue_size": 200, "fetch_size": 2, "timeout": 30}
CALLS = 60


async def who(action: str) -> str:
    return "ours"


@pytest.mark.parametrize("first", ["ours", "0.1.2"])
@pytest.mark.parametrize("limits", [LIMITS, {"fetch_size": 2}], ids=["limits", "none"])
async def test_both_get_calls_and_every_call_returns(
    peers: Peers,
    peer_client: PeerProcess,
    client: RMQClient,
    serve: Serve,
    service_name: str,
    first: str,
    limits: dict[str, int],
) -> None:
    # The queue is declared twice with equal limits; a difference would be refused, whoever comes second.
    if first == "ours":
        await serve(who, **limits)
    await asyncio.to_thread(peers.server, service_name, limits)
    if first != "ours":
        await serve(who, **limits)

    async def ours() -> str:
        return str(await client.remote_call(service_name, ("who",), timeout=30))

    async def theirs() -> str:
        answer = await asyncio.wrap_future(peer_client.call(name=service_name, args=["who"]))
        return str(answer["result"])

    for call in (ours, theirs):
        answered: set[str] = set()
        async with asyncio.timeout(60):  # a worker may finish many calls before its neighbour gets a turn
            while answered != {"ours", "0.1.2"}:
                answers = await asyncio.gather(*(call() for _ in range(CALLS)))
                assert set(answers) <= {"ours", "0.1.2"}
                answered.update(answers)


@pytest.mark.parametrize(
    ("limits", "argument"),
    [({"queue_size": 100, "timeout": 30}, "queue_size"), ({"queue_size": 200, "timeout": 31}, "timeout")],
)
async def test_other_limits_are_a_clear_error(
    peers: Peers, url: str, service_name: str, limits: dict[str, Any], argument: str
) -> None:
    await asyncio.to_thread(peers.server, service_name, LIMITS)

    async def other() -> None: ...

    other.__name__ = service_name
    server = RMQServer(url=url)
    server.add_service(other, **limits)
    with pytest.raises(ConfigurationError, match=argument):
        await server.connect()
