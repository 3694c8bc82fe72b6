"""Many at once: calls that run or expire together, workers that come and go, callers that cancel or stand still.

``CHAOS_FULL=1`` makes the numbers those of a large installation; without it, they are just above the number of requests
that one script moves, so that each takes several steps.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from rabibridge_core import CallTimeoutError, register_call
from rabibridge_core.rpc import RpcClient, RpcServer
from tests.redis.programs import line, program
from tests.support.proxy import Proxy
from tests.support.waiting import soon, until, until_true

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge_redis._session.session import Session

FULL = os.environ.get("CHAOS_FULL") == "1"
IN_FLIGHT = 20_000 if FULL else 1_200
EXPIRED = 100_000 if FULL else 1_200
WORKERS = 5_000 if FULL else 60
CANCELLED = 10_000 if FULL else 1_000
PATIENCE = 300.0

HOLDER = """
import asyncio, sys
from rabibridge_core import register_call
from rabibridge_core.rpc import RpcServer

url, name, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
began = 0

@register_call(name=name, fetch_size=number, queue_size=2 * number)
async def hold(value):
    global began
    began += 1
    if began == number:
        print("full", flush=True)
    await asyncio.Event().wait()

async def main():
    server = RpcServer(url=url)
    server.load_services({name: hold})
    async with server.serving():
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def new_name() -> str:
    return f"many_{uuid.uuid4().hex}"


def server_of(
    url: str, name: str, function: Callable[..., Awaitable[Any]], *, fetch_size: int = 5, queue_size: int = 100
) -> RpcServer:
    server = RpcServer(url=url)
    service = register_call(name=name, fetch_size=fetch_size, queue_size=queue_size)(function)
    server.load_services({name: service})
    return server


def session_of(client: RpcClient) -> Session:
    return client._client.transport.session  # type: ignore[attr-defined, no-any-return]


async def is_empty(session: Session, name: str) -> bool:
    """Tell whether nothing waits in the queue of a service, and nobody holds anything."""
    queue = session.key("q", f"rpc_async_{name}")
    ask = session.commands.ask
    found = await session.ask("look", f"rpc_async_{name}")
    held, stored, counted = await asyncio.gather(
        ask("XPENDING", f"{queue}:s", "g"), ask("XLEN", f"{queue}:s"), ask("HLEN", f"{queue}:d")
    )
    return (found[1], held[0], stored, counted) == (0, 0, 0, 0)


async def test_the_calls_of_a_worker_that_dies_are_shared_by_three_others(redis_url: str) -> None:
    name, runs = new_name(), dict[int, int]()

    async def run(value: int) -> int:
        runs[value] = runs.get(value, 0) + 1
        return value

    async with RpcClient(url=redis_url) as client, AsyncExitStack() as stack:
        with program(HOLDER, redis_url, name, str(IN_FLIGHT)) as doomed:
            assert await line(doomed) == "ready"
            calls = [
                asyncio.create_task(client.remote_call(name, (number,), timeout=PATIENCE))
                for number in range(IN_FLIGHT)
            ]
            assert await line(doomed) == "full"
            for _ in range(3):
                others = server_of(redis_url, name, run, fetch_size=IN_FLIGHT, queue_size=2 * IN_FLIGHT)
                await stack.enter_async_context(others.serving())
            doomed.kill()
            assert await asyncio.gather(*calls) == list(range(IN_FLIGHT))
        assert runs == dict.fromkeys(range(IN_FLIGHT), 1)
        await until_true(lambda: is_empty(session_of(client), name))


async def test_calls_that_expire_or_vanish_while_a_dead_worker_holds_them_are_dropped(redis_url: str) -> None:
    name, ran = new_name(), list[int]()

    async def run(value: int) -> int:
        ran.append(value)
        return value

    async with RpcClient(url=redis_url) as client:
        with program(HOLDER, redis_url, name, "3") as doomed:
            assert await line(doomed) == "ready"
            timeouts = {1: 0.5, 2: 0.5, 3: PATIENCE}
            calls = [
                asyncio.create_task(client.remote_call(name, (value,), timeout=timeout, idempotent=True))
                for value, timeout in timeouts.items()
            ]
            assert await line(doomed) == "full"
            session = session_of(client)
            stream = session.key("q", f"rpc_async_{name}:s")
            entries = await session.commands.ask("XRANGE", stream, "-", "+")
            await session.commands.ask("XDEL", stream, entries[1][0])
            assert [type(one) for one in await asyncio.gather(*calls[:2], return_exceptions=True)] == (
                [CallTimeoutError] * 2
            )
            doomed.kill()
        async with server_of(redis_url, name, run, fetch_size=3, queue_size=6).serving():
            assert await soon(calls[2]) == 3
            assert await client.remote_call(name, (4,), timeout=PATIENCE) == 4
            assert ran == [3, 4]
            await until_true(lambda: is_empty(session, name))


async def test_a_call_behind_many_that_have_expired_is_taken(redis_url: str) -> None:
    name = new_name()

    async def run(value: int) -> int:
        return value

    limits = {"fetch_size": 5, "queue_size": 2 * EXPIRED}
    async with server_of(redis_url, name, run, **limits).serving():
        pass
    async with RpcClient(url=f"{redis_url}?lease=600") as client:  # this process stands still for a while
        late = await asyncio.gather(
            *(client.remote_call(name, (number,), timeout=0.2) for number in range(EXPIRED)), return_exceptions=True
        )
        assert {type(one) for one in late} == {CallTimeoutError}
        call = asyncio.create_task(client.remote_call(name, (7,), timeout=PATIENCE))
        async with server_of(redis_url, name, run, **limits).serving():
            assert await call == 7
            await until_true(lambda: is_empty(session_of(client), name))


async def test_workers_that_come_and_go_leave_nothing(redis_url: str) -> None:
    name = new_name()

    async def run(value: int) -> int:
        return value

    async with RpcClient(url=redis_url) as client, server_of(redis_url, name, run).serving():
        session = session_of(client)
        queue, ask = session.key("q", f"rpc_async_{name}"), session.commands.ask
        inboxes = set(await ask("KEYS", session.key("i", "*")))  # of others, which may end meanwhile
        for number in range(WORKERS):
            server = server_of(f"{redis_url}?lease=3", name, run)
            async with server.serving():
                if number % 2:
                    server._server.transport.abort()  # type: ignore[attr-defined]
        assert await client.remote_call(name, (1,), timeout=PATIENCE) == 1

        async def one_is_left() -> bool:
            groups = await ask("XINFO", "CONSUMERS", f"{queue}:s", "g")
            names = [one[b"name"] for one in groups if one[b"name"] != b"-"]
            known = [await ask(command, f"{queue}:{kind}") for command, kind in (("HLEN", "c"), ("HLEN", "f"))]
            left = set(await ask("KEYS", session.key("i", "*"))) - inboxes
            return (len(names), *known, left) == (1, 1, 1, set())

        await until_true(one_is_left)


async def test_cancelled_calls_of_many_services_never_mix_up_results(redis_url: str) -> None:
    names = [new_name() for _ in range(32)]

    async def run(value: int) -> int:
        await asyncio.sleep(0)
        return value

    server = RpcServer(url=redis_url)
    for name in names:
        server.load_services({name: register_call(name=name, queue_size=CANCELLED)(run)})
    chance = random.Random(17)
    async with Proxy(redis_url) as proxy, server.serving(), RpcClient(url=proxy.url) as client:
        proxy.delay = 0.1

        async def call(number: int) -> None:
            limit = chance.uniform(0.0, 0.8)
            try:
                async with asyncio.timeout(limit):
                    found = await client.remote_call(names[number % 32], (number,), timeout=PATIENCE)
            except TimeoutError:
                return
            assert found == number

        for first in range(0, CANCELLED, 1_000):
            await asyncio.gather(*map(call, range(first, first + 1_000)))
        found = await asyncio.gather(*(client.remote_call(name, (0,), timeout=PATIENCE) for name in names))
        assert found == [0] * len(names)
        assert len(proxy.links) == 3, (
            "one for commands, one that waits and one that listens, whatever the number of calls"
        )


CALLER = """
import asyncio, collections, sys
from rabibridge_core.rpc import RpcClient

async def main():
    async with RpcClient(url=sys.argv[1]) as client:
        calls = [client.remote_call(sys.argv[2], timeout=300) for _ in range(int(sys.argv[3]))]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        kinds = collections.Counter(type(end).__name__ for end in ends)
        print(*(f"{kind}={number}" for kind, number in kinds.items()), flush=True)

asyncio.run(main())
"""


async def test_what_a_frozen_caller_does_not_read_is_kept_for_its_lease_alone(redis_url: str) -> None:
    calls, size, lease = (10_000, 100 * 1024, 90) if FULL else (200, 10 * 1024, 3)  # time enough to send all of them
    name, running, opened = new_name(), 0, asyncio.Event()
    result, few = os.urandom(size), asyncio.Semaphore(100)

    async def run() -> bytes:
        nonlocal running
        running += 1
        await opened.wait()
        async with few:  # this process must not stand still while it sends them
            await asyncio.sleep(0)
            return result

    patient = f"{redis_url}?lease=600"  # the server has a lot to do
    server = server_of(patient, name, run, fetch_size=calls, queue_size=calls)
    async with server.serving(), RpcClient(url=patient) as client:
        session = session_of(client)
        with program(CALLER, f"{redis_url}?lease={lease}", name, str(calls)) as caller:
            await until(lambda: running == calls)
            inboxes = set(await session.commands.ask("KEYS", session.key("i", "*")))
            caller.send_signal(signal.SIGSTOP)
            opened.set()

            async def longest() -> int:
                return max([int(await session.commands.ask("MEMORY", "USAGE", key) or 0) for key in inboxes])

            await until_true(lambda: _at_least(longest, calls * size // 2))
            assert await longest() < 2 * calls * size, "no more than its pending calls return"
            await until_true(lambda: _less_than(longest, calls * size // 2))
            caller.send_signal(signal.SIGCONT)
            ends = dict(part.split("=") for part in (await line(caller)).split())
        assert sum(map(int, ends.values())) == calls
        assert set(ends) <= {"bytes", "ConnectionLostError"}, "what had reached it, and the others"


async def _at_least(size: Callable[[], Awaitable[int]], limit: int) -> bool:
    return await size() >= limit


async def _less_than(size: Callable[[], Awaitable[int]], limit: int) -> bool:
    return await size() < limit
