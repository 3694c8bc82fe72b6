"""What happens to calls when a worker, a connection, or what the server holds is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from rabibridge_core import CallTimeoutError, ConfigurationError, ConnectionLostError, NoRouteError, register_call
from rabibridge_core._protocol.naming import queue_name, routing_keys
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import Reply, ServiceQueue
from rabibridge_redis._transport.transport import RedisTransport
from rabibridge_testing.conformance.harness import Inbox, Worker, request_to
from tests.redis.programs import line, program
from tests.support.proxy import Proxy
from tests.support.waiting import soon
from tools.redis_server import PrivateRedis, find_redis_server

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

PATIENCE = 60.0

WORKER = """
import asyncio, os, sys
from rabibridge_core import register_call
from rabibridge_core.rpc import RpcServer

@register_call(fetch_size=6)
async def process_id(wait):
    print("began", flush=True)
    if wait:
        await asyncio.Event().wait()
    return os.getpid()

async def main():
    server = RpcServer(url=sys.argv[1])
    server.load_services(globals())
    async with server.serving():
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def own_redis() -> Iterator[PrivateRedis]:
    if find_redis_server() is None:
        reason = "no Redis: install redis-server or valkey-server"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with PrivateRedis() as server:
        yield server


@contextmanager
def worker(url: str) -> Iterator[subprocess.Popen[str]]:
    with program(WORKER, url) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


async def began(process: subprocess.Popen[str]) -> None:
    assert await line(process) == "began"


async def test_the_calls_of_a_worker_that_is_killed_run_elsewhere(redis_url: str) -> None:
    async with RpcClient(url=redis_url) as client:
        with worker(redis_url) as doomed:
            calls = [asyncio.create_task(client.remote_call("process_id", (True,), timeout=PATIENCE)) for _ in range(5)]
            for _ in calls:
                await began(doomed)
            with worker(redis_url) as other:
                doomed.kill()
                for _ in calls:
                    await began(other)
                assert await client.remote_call("process_id", (False,), timeout=PATIENCE, ftype="async") == other.pid
                for call in calls:
                    call.cancel()


async def test_a_worker_that_is_frozen_loses_its_calls_after_the_lease(redis_url: str) -> None:
    url = f"{redis_url}?lease=3"
    async with RpcClient(url=redis_url) as client:
        with worker(url) as frozen:
            call = asyncio.create_task(client.remote_call("process_id", (True,), timeout=PATIENCE))
            await began(frozen)
            with worker(url) as other:
                frozen.send_signal(signal.SIGSTOP)
                await began(other)
                frozen.send_signal(signal.SIGCONT)
                await asyncio.sleep(0)
                assert not call.done()
                call.cancel()


@register_call(fetch_size=3, timeout=600)
async def echo(value: int) -> int:
    return value


async def answered(client: RpcClient) -> int:
    """Call until a call succeeds; what is in between are errors of the right kind."""
    while True:
        try:
            return int(await client.remote_call("echo", (7,), timeout=5))
        except (ConnectionLostError, CallTimeoutError, NoRouteError):
            continue


@pytest.mark.parametrize("what", ["restart", "flush", "scripts", "stream"])
async def test_calls_go_on(own_redis: PrivateRedis, what: str) -> None:
    server = RpcServer(url=own_redis.url)
    server.add_service(echo)
    async with server.serving(), RpcClient(url=own_redis.url) as client:
        assert await client.remote_call("echo", (1,), timeout=PATIENCE) == 1
        if what == "restart":
            own_redis.kill()
            await asyncio.to_thread(own_redis.start)
        else:
            transport = client._client.transport
            session = transport.session  # type: ignore[attr-defined]
            command = {
                "flush": ("FLUSHALL",),
                "scripts": ("SCRIPT", "FLUSH"),
                "stream": ("DEL", "rpc::q:rpc_async_echo"),
            }
            await session.commands.ask(*command[what])
        async with asyncio.timeout(PATIENCE):
            assert await answered(client) == 7


async def test_a_server_without_memory_makes_calls_wait_within_their_timeout(own_redis: PrivateRedis) -> None:
    server = RpcServer(url=own_redis.url)
    server.add_service(echo)
    async with server.serving(), RpcClient(url=own_redis.url) as client:
        session = client._client.transport.session  # type: ignore[attr-defined]
        await session.commands.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(CallTimeoutError):
            await client.remote_call("echo", (1,), timeout=0.5)
        with pytest.raises(CallTimeoutError, match="accepts nothing new"):
            await client.remote_call("echo", (1,), timeout=0.5)
        waiting = asyncio.create_task(client.remote_call("echo", (2,), timeout=PATIENCE))
        await asyncio.sleep(0)
        await session.commands.ask("CONFIG", "SET", "maxmemory", "0")
        assert await waiting == 2


@pytest.mark.parametrize(("url", "what"), [("redis://nobody:wrong@{}", "WRONGPASS"), ("redis://{}/99", "DB index")])
async def test_a_log_in_that_is_refused_says_why(own_redis: PrivateRedis, url: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        await RpcClient(url=url.format(f"127.0.0.1:{own_redis.port}")).connect()


async def test_calls_that_wait_with_many_bytes_are_served(redis_url: str) -> None:
    async def size(value: bytes) -> int:
        return len(value)

    declaring, serving = RpcServer(url=redis_url), RpcServer(url=redis_url)
    for server in (declaring, serving):
        server.add_service(size, name="size_of_many")
    async with declaring.serving():
        pass
    async with RpcClient(url=redis_url) as client:
        bodies = [os.urandom(4 * 2**20) for _ in range(12)]
        calls = [asyncio.create_task(client.remote_call("size_of_many", (one,), timeout=PATIENCE)) for one in bodies]
        session = client._client.transport.session  # type: ignore[attr-defined]
        while (await session.ask("look", "rpc_async_size_of_many"))[1] < len(bodies):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # nothing tells when they are there
        async with serving.serving():
            assert await asyncio.gather(*calls) == [4 * 2**20] * 12


async def test_what_began_on_a_connection_that_was_lost_before_it_was_ready_is_stopped(redis_url: str) -> None:
    began, ended = asyncio.Queue[None](), asyncio.Queue[None]()
    finish = asyncio.Event()

    async def slow() -> int:
        began.put_nowait(None)
        try:
            await finish.wait()
        finally:
            ended.put_nowait(None)
        return 7

    async with asyncio.timeout(PATIENCE), Proxy(redis_url) as proxy:
        server = RpcServer(url=proxy.url)
        server.add_service(slow, name=f"first{id(proxy)}", redelivery_limit=10)
        for number in range(31):  # so many services are opened together
            server.add_service(slow, name=f"other{number}{id(proxy)}")
        server.add_service(slow, name=f"second{id(proxy)}")
        async with server.serving(), RpcClient(url=redis_url) as client:
            call = asyncio.create_task(client.remote_call(f"first{id(proxy)}", (), timeout=PATIENCE))
            await began.get()
            # The new connection serves the first service, and waits for leave to listen for the second one.
            proxy.when_sent.append((f"b0:second{id(proxy)}".encode(), proxy.up.clear))
            proxy.cut()
            await ended.get()
            await began.get()
            proxy.cut()
            proxy.thaw()
            await ended.get()
            await began.get()
            finish.set()
            assert await call == 7


async def test_a_worker_that_asks_while_its_queue_is_declared_again_goes_on_and_stops(redis_url: str) -> None:
    name, events, inbox = f"again_{uuid.uuid4().hex[:12]}", Worker(), Inbox()
    queue = ServiceQueue(queue_name(name, is_async=True), routing_keys(name, is_async=True), None, 1)
    worker = RedisTransport(load_settings(url=redis_url), "worker")
    other = RedisTransport(load_settings(url=redis_url), "other")
    await worker.connect()
    await other.connect()
    try:
        consumer = await worker.serve(queue, events)
        consumer.wake()
        consumer.flush()  # it asks for a request
        worker.queue_gone(consumer)  # and hears that the queue was deleted, before it gets an answer
        caller = await other.open_caller(inbox)
        caller.send(request_to(queue))
        (await events.next()).reply(Reply(b"", None, None))
        assert (await soon(inbox.replies.get()))[0] == b"1"
        consumer.wake()
        consumer.flush()
        worker.queue_gone(consumer)
        await soon(consumer.stop())
    finally:
        await worker.close()
        await other.close()
