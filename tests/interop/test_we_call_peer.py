"""A client of ours calls a server of RabiBridge 0.1.2."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from rabibridge import CallTimeoutError, NoRouteError, QueueFullError, RMQClient, register_call
from tests.interop.wire import ZSTD_MAGIC, PlainCaller, channel_to, overheard

if TYPE_CHECKING:
    from tests.interop.conftest import Peers

MEBIBYTE = random.Random(2).randbytes(2**19).hex()


@pytest.mark.parametrize("serializer", ["msgpack", "json", "pickle"])
async def test_we_get_results(
    peers: Peers, url: str, service_name: str, serializer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if serializer == "pickle":
        monkeypatch.setenv("RABIBRIDGE_TRUST_BROKER", "true")  # 0.1.2 cannot sign
    await asyncio.to_thread(peers.server, service_name, {}, serializer)
    async with RMQClient(url=url, serializer=serializer) as client:
        calls = [client.remote_call(service_name, ("echo", n), {"times": 2}, timeout=30) for n in range(20)]
        assert await asyncio.gather(*calls) == [2 * n for n in range(20)]
        value = ["ä", None, {"x": [True, 0.5]}]
        assert await client.remote_call(service_name, ("echo", value), timeout=30) == value


async def test_typed_calls_reach_it_by_kind(peers: Peers, client: RMQClient, service_name: str) -> None:
    @register_call(name=service_name)
    async def work(what: str, value: int, times: int = 1) -> int:
        raise NotImplementedError

    await asyncio.to_thread(peers.server, service_name)
    view = client.options(timeout=30)
    assert await view.call(work, "echo", 1, times=2) == 2
    assert await view.stub(work)("echo", 3) == 3
    assert await view.options(kind="async").call(service_name, "echo", 4) == 4
    with pytest.raises(NoRouteError):  # it binds no key for callers that do not know the kind
        await view.call(service_name, "echo", 5)


async def test_a_mebibyte_travels_compressed_both_ways(
    peers: Peers, client: RMQClient, url: str, service_name: str
) -> None:
    await asyncio.to_thread(peers.server, service_name)
    with overheard(url, f"async_{service_name}") as request:
        assert await client.remote_call(service_name, ("echo", MEBIBYTE), timeout=30) == MEBIBYTE
        sent = await asyncio.to_thread(request)
    assert sent.body[:4] == ZSTD_MAGIC

    def send_again() -> bytes:
        with channel_to(url) as channel:
            caller = PlainCaller(channel)
            caller.send(f"async_{service_name}", sent.body, reply_to=caller.reply_to, correlation_id="again")
            return caller.reply("again").body

    assert (await asyncio.to_thread(send_again))[:4] == ZSTD_MAGIC


async def test_a_full_queue_is_our_queue_full_error(peers: Peers, client: RMQClient, service_name: str) -> None:
    peer = await asyncio.to_thread(peers.server, service_name, {"queue_size": 1, "fetch_size": 1})
    first = asyncio.create_task(client.remote_call(service_name, ("hold", 1), timeout=30))
    assert await asyncio.to_thread(peer.event) == {"event": "holding"}
    others = [asyncio.create_task(client.remote_call(service_name, ("echo", n), timeout=30)) for n in (2, 3)]
    done, (second,) = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
    (refused,) = done
    with pytest.raises(QueueFullError):
        refused.result()
    peer.send({})
    assert [await first, await second] == [1, 2]


async def test_a_function_that_raises_is_never_answered_and_we_time_out(
    peers: Peers, client: RMQClient, service_name: str
) -> None:
    await asyncio.to_thread(peers.server, service_name)
    with pytest.raises(CallTimeoutError) as caught:
        await client.remote_call(service_name, ("boom",), timeout=0.5)
    assert caught.value.timeout == 0.5
    assert await client.remote_call(service_name, ("echo", "still there"), timeout=30) == "still there"


async def test_it_is_not_reached_without_naming_the_kind(peers: Peers, client: RMQClient, service_name: str) -> None:
    await asyncio.to_thread(peers.server, service_name)
    with pytest.raises(NoRouteError):
        await client.remote_call(service_name, ("echo", 1), ftype="any", timeout=30)
    assert await client.remote_call(service_name, ("echo", 1), timeout=30) == 1
