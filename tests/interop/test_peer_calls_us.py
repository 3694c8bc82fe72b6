"""A client of RabiBridge 0.1.2 calls a server of ours."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import ServiceError
from tests.interop.wire import ZSTD_MAGIC, overheard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge import RMQClient, RMQServer
    from tests.interop.conftest import Peers
    from tools.peers import PeerProcess

    Serve = Callable[..., Awaitable[RMQServer]]

MEBIBYTE = random.Random(1).randbytes(2**19).hex()  # compresses to about half: many frames even so


async def outcome(peer: PeerProcess, name: str, *args: Any, kind: str = "async", **kwargs: Any) -> dict[str, Any]:
    return await asyncio.wrap_future(peer.call(name=name, args=args, kwargs=kwargs, kind=kind))


@pytest.mark.parametrize("serializer", ["msgpack", "json", "pickle"])
async def test_it_gets_results(
    peers: Peers, serve: Serve, service_name: str, serializer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if serializer == "pickle":
        monkeypatch.setenv("RABIBRIDGE_TRUST_BROKER", "true")  # 0.1.2 cannot sign

    async def add(a: Any, b: Any, *, times: int = 1) -> Any:
        return (a + b) * times

    await serve(add, serializer)
    peer = await asyncio.to_thread(peers.client, serializer)
    calls = [outcome(peer, service_name, number, 1.5, times=2) for number in range(20)]
    assert [answer["result"] for answer in await asyncio.gather(*calls)] == [(n + 1.5) * 2 for n in range(20)]
    assert (await outcome(peer, service_name, ["ä"], [None, {"x": True}]))["result"] == ["ä", None, {"x": True}]


async def test_it_calls_a_sync_function(peer_client: PeerProcess, serve: Serve, service_name: str) -> None:
    def in_a_thread() -> str:
        return threading.current_thread().name

    await serve(in_a_thread)
    result = (await outcome(peer_client, service_name, kind="sync"))["result"]
    assert result != threading.main_thread().name


async def test_a_mebibyte_travels_compressed_both_ways(
    peer_client: PeerProcess, serve: Serve, service_name: str, url: str
) -> None:
    async def echo(text: str) -> str:
        return text

    await serve(echo)
    with overheard(url, f"async_{service_name}") as request:
        assert (await outcome(peer_client, service_name, MEBIBYTE))["result"] == MEBIBYTE
        properties, body = await asyncio.to_thread(request)
    assert properties.content_type is None
    assert properties.content_encoding is None
    assert body[:4] == ZSTD_MAGIC
    assert len(body) < 0.6 * len(MEBIBYTE)


async def test_a_full_queue_is_its_delivery_error(peer_client: PeerProcess, serve: Serve, service_name: str) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def hold(number: int) -> int:
        entered.set()
        await release.wait()
        return number

    await serve(hold, queue_size=1, fetch_size=1)
    first = asyncio.create_task(outcome(peer_client, service_name, 1))
    await entered.wait()
    others = [asyncio.create_task(outcome(peer_client, service_name, number)) for number in (2, 3)]
    done, waiting = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
    (refused,) = (task.result() for task in done)
    assert refused["errors"][0] == "aiormq.exceptions.DeliveryError"  # aio_pika.exceptions.DeliveryError is this one
    release.set()
    (second,) = waiting
    assert [(await first)["result"], (await second)["result"]] == [1, 2]


async def test_an_error_is_its_remote_execution_error(
    peer_client: PeerProcess, serve: Serve, service_name: str
) -> None:
    async def boom() -> None:
        raise ValueError("boom of ours")

    await serve(boom)
    failed = await outcome(peer_client, service_name)
    assert failed["errors"][0] == "rabibridge.exceptions.RemoteExecutionError"
    assert failed["text"].startswith("Traceback (most recent call last):")
    assert "in boom" in failed["text"]
    assert "ValueError: boom of ours" in failed["text"]


async def test_a_declared_error_is_its_remote_execution_error(
    peer_client: PeerProcess, serve: Serve, service_name: str
) -> None:
    class SoldOut(ServiceError, code="interop.peer"):
        sku: str

    async def declares() -> None:
        raise SoldOut("A-17")

    await serve(declares)
    failed = await outcome(peer_client, service_name)
    assert failed["errors"][0] == "rabibridge.exceptions.RemoteExecutionError"
    assert "in declares" in failed["text"]
    assert "SoldOut: interop.peer: sku='A-17'" in failed["text"]


async def test_wrong_arguments_and_unsendable_results_end_its_calls_too(
    peer_client: PeerProcess, serve: Serve, service_name: str
) -> None:
    async def strange(wanted: str) -> object:
        return object()

    await serve(strange)
    for arguments in ((), ("x",)):
        failed = await outcome(peer_client, service_name, *arguments)
        assert failed["errors"][0] == "rabibridge.exceptions.RemoteExecutionError"


async def test_an_unknown_service_is_its_publish_error(
    peer_client: PeerProcess, serve: Serve, service_name: str
) -> None:
    async def known() -> str:
        return "known"

    await serve(known)
    assert (await outcome(peer_client, f"{service_name}_unknown"))["errors"][0] == "aiormq.exceptions.PublishError"
    assert (await outcome(peer_client, service_name))["result"] == "known"


async def test_it_is_nobody_where_users_are_allowed(peer_client: PeerProcess, serve: Serve, service_name: str) -> None:
    ran: list[int] = []

    async def work(number: int) -> int:
        ran.append(number)
        return number

    await serve(work, allow=("gateway",))
    answer = await outcome(peer_client, service_name, 1)
    assert "result" not in answer
    assert "nobody vouches for the user of this call" in str(answer)
    assert ran == []


async def test_it_gets_single_replies_from_a_worker_that_sends_bundles_to_others(
    peer_client: PeerProcess, serve: Serve, service_name: str, client: RMQClient
) -> None:
    async def twice(number: int) -> int:
        return 2 * number

    await serve(twice, fetch_size=400)
    theirs = asyncio.gather(*(outcome(peer_client, service_name, number) for number in range(100)))
    ours = asyncio.gather(*(client.remote_call(service_name, (number,)) for number in range(200)))
    assert await ours == [2 * number for number in range(200)]
    assert [answer["result"] for answer in await theirs] == [2 * number for number in range(100)]
