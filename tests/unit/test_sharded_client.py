"""Calls over several independent brokers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core import RetryRefused, current_call
from rabibridge_core.errors import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    NoRouteError,
    QueueFullError,
    RemoteExecutionError,
)
from rabibridge_core.rpc import RpcServer, ShardedClient
from rabibridge_testing.memory import forget_broker, memory_broker
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from rabibridge_testing import MemoryBroker

NAMES = ("east", "west", "north")


class Brokers:
    """Three brokers with a worker each, which tells its name."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, Any]] = []
        self.gate = asyncio.Event()
        self._stack = AsyncExitStack()
        self.gate.set()

    def __getitem__(self, name: str) -> MemoryBroker:
        return memory_broker(name)

    async def serve(self, name: str, **options: Any) -> None:
        server = RpcServer(url=f"memory://{name}", name=f"worker {name}")

        async def where(value: Any = None) -> str:
            self.runs.append((name, value))
            await self.gate.wait()
            if value == "fail":
                raise ValueError(value)
            return name

        async def items() -> AsyncIterator[str]:
            for _ in range(3):
                yield name

        server.add_service(where, **options)
        server.add_service(items)
        await self._stack.enter_async_context(server.serving())

    async def close(self) -> None:
        self.gate.set()
        for name in NAMES:
            self[name].restore()
        await self._stack.aclose()
        for name in NAMES:
            forget_broker(name)


@pytest.fixture
async def brokers() -> AsyncIterator[Brokers]:
    made = Brokers()
    yield made
    await made.close()


def client(**options: Any) -> ShardedClient:
    return ShardedClient({name: f"memory://{name}" for name in NAMES}, **options)


def keys_of(found: ShardedClient, name: str) -> list[str]:
    return [key for key in map(str, range(200)) if found.shard_of(key) == name]


async def test_calls_of_every_shape_go_to_all_brokers(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        assert {await calls.call("where") for _ in range(100)} == set(NAMES)
        assert {await calls.remote_call("where", (1,), timeout=5) for _ in range(100)} == set(NAMES)
        assert {await calls.stub("where", timeout=5)() for _ in range(100)} == set(NAMES)
        assert {where async for where in calls.map("where", range(100))} == set(NAMES)
        streams = [[where async for where in calls.stream("items")] for _ in range(50)]
        assert {tuple(items) for items in streams} == {(name,) * 3 for name in NAMES}
        succeeded, (code, error) = await calls.try_remote_call("where", ("fail",))
        assert (succeeded, code, type(error)) == (True, 1, RemoteExecutionError)
        brokers.runs.clear()
        for number in range(60):
            await calls.notify("where", number)
        await until(lambda: len(brokers.runs) == 60)
        assert {name for name, _ in brokers.runs} == set(NAMES)
        assert calls.pending == 0


async def test_a_key_goes_to_one_broker(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        for key in map(str, range(30)):
            view = calls.for_key(key).options(timeout=5)
            owner = calls.shard_of(key)
            assert {await view.call("where"), await view.remote_call("where"), await view.stub("where")()} == {owner}
            assert [where async for where in view.stream("items")] == [owner] * 3
            await view.notify("where", key)
        await until(lambda: sum(value is not None for _, value in brokers.runs) == 30)
        assert all(name == calls.shard_of(key) for name, key in brokers.runs if key is not None)
    with pytest.raises(TypeError, match="must be a text"):
        calls.for_key(7)  # type: ignore[arg-type]


async def test_an_error_of_the_function_goes_nowhere_else(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        with pytest.raises(RemoteExecutionError, match="fail"):
            await calls.options(idempotent=True).call("where", "fail")
        assert len(brokers.runs) == 1


async def test_a_full_queue_is_avoided_and_another_broker_asked_once(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        refusals = [brokers["east"].refuse("where")]
        assert {await calls.call("where") for _ in range(20)} == {"west", "north"}
        assert refusals[0].struck <= 2  # it is not asked each time
        refusals.extend(brokers[name].refuse("where") for name in ("west", "north"))
        with pytest.raises(QueueFullError):
            await calls.call("where")
        struck = sum(fault.struck for fault in refusals)
        with pytest.raises(QueueFullError):
            await calls.call("where")
        assert sum(fault.struck for fault in refusals) - struck == 2  # one and one other, not all in turn
        for fault in refusals:
            fault.stop()
        assert await calls.call("where") in NAMES


async def test_refused_calls_are_retried_after_another_broker_was_asked(brokers: Brokers) -> None:
    for name in ("east", "west"):
        await brokers.serve(name)
    async with ShardedClient(["memory://east", "memory://west"], retry=RetryRefused(base=0.01)) as calls:
        first, second = (brokers[name].refuse("where", times=times) for name, times in (("east", 1), ("west", 2)))
        found = [await calls.options(timeout=30).call("where") for _ in range(20)]
        assert set(found) <= {"east", "west"}
        assert len(brokers.runs) == 20
        assert first.struck + second.struck >= 2


async def test_a_service_that_one_broker_has_is_found_there(brokers: Brokers) -> None:
    await brokers.serve("north")
    async with client() as calls:
        assert {await calls.call("where") for _ in range(20)} == {"north"}
        with pytest.raises(NoRouteError):
            await calls.call("nowhere")
        with pytest.raises(NoRouteError):  # a key has one broker
            await calls.for_key(keys_of(calls, "east")[0]).call("where")


@pytest.mark.parametrize("key", [False, True])
async def test_idempotent_calls_go_elsewhere_and_others_end(brokers: Brokers, key: bool) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        view = calls.for_key(keys_of(calls, "east")[0]) if key else calls
        brokers.gate.clear()
        again = [asyncio.ensure_future(view.options(timeout=30, idempotent=True).call("where", 1)) for _ in range(30)]
        once = [asyncio.ensure_future(view.options(timeout=30).call("where", 2)) for _ in range(30)]
        await until(lambda: len(brokers.runs) >= 3 and calls.pending == 60)
        there = calls.shards["east"].pending
        assert there == 60 if key else 0 < there < 60
        brokers["east"].lose_connection(restore=False)
        brokers.gate.set()
        assert "east" not in await soon(asyncio.gather(*again))
        ended = await soon(asyncio.gather(*once, return_exceptions=True))
        lost = [error for error in ended if isinstance(error, ConnectionLostError)]
        assert {where for where in ended if isinstance(where, str)} <= {"west", "north"}
        assert 0 < len(lost) == sum(not isinstance(where, str) for where in ended)
        assert all(error.executed is None for error in lost)
        # New calls go on, those with a key only if they are idempotent.
        assert await view.options(timeout=30, idempotent=True).call("where") in {"west", "north"}
        if key:
            with pytest.raises(CallTimeoutError) as waited:
                await view.options(timeout=0.05).call("where")
            assert waited.value.executed is False
        else:
            assert {await view.options(timeout=30).call("where") for _ in range(20)} == {"west", "north"}
        assert calls.health()
        assert any(reason.startswith("east: ") for reason in calls.health().reasons)
        brokers["east"].restore()
        await until(lambda: bool(calls.shards["east"].health()))
        assert calls.health().reasons == ()
        assert calls.pending == 0


async def test_an_idempotent_call_comes_back_to_its_broker_if_there_is_no_other(brokers: Brokers) -> None:
    await brokers.serve("east")
    async with ShardedClient(["memory://east"]) as calls:
        brokers.gate.clear()
        call = asyncio.ensure_future(calls.options(timeout=30, idempotent=True).call("where"))
        await until(lambda: len(brokers.runs) == 1)
        brokers["east"].lose_connection()
        await until(lambda: calls.pending == 1 and bool(calls.health()))
        brokers.gate.set()
        assert await soon(call) == "east"


async def test_if_no_broker_can_be_reached_calls_wait_for_the_first(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        for name in NAMES:
            brokers[name].lose_connection(restore=False)
        assert not calls.health()
        with pytest.raises(CallTimeoutError, match="could not be sent") as waited:
            await calls.options(timeout=0.05).call("where")
        assert waited.value.executed is False
        waiting = [asyncio.ensure_future(calls.options(timeout=60).call("where")) for _ in range(10)]
        idempotent = asyncio.ensure_future(calls.options(timeout=60, idempotent=True).call("where"))
        keyed = asyncio.ensure_future(
            calls.for_key(keys_of(calls, "east")[0]).options(timeout=60, idempotent=True).call("where")
        )
        brokers["west"].restore()
        assert set(await soon(asyncio.gather(*waiting, idempotent, keyed))) == {"west"}


async def test_a_call_that_was_sent_and_then_refused_says_that_it_may_have_run(brokers: Brokers) -> None:
    await brokers.serve("east")
    async with ShardedClient(["memory://east", "memory://west"]) as calls:
        brokers.gate.clear()
        call = asyncio.ensure_future(calls.options(timeout=60, idempotent=True).call("where"))
        await until(lambda: len(brokers.runs) == 1)
        brokers["east"].lose_connection(restore=False)
        with pytest.raises(NoRouteError) as error:
            await soon(call)
        assert error.value.executed is None
        assert any("may have run then" in note for note in error.value.__notes__)


async def test_it_connects_if_one_broker_can_be_reached(brokers: Brokers, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("west", "north"):
        await brokers.serve(name)
    brokers["east"].refuse_connections()
    async with client() as calls:
        assert {await calls.call("where") for _ in range(30)} == {"west", "north"}
        key = keys_of(calls, "east")[0]
        assert await calls.for_key(key).options(idempotent=True, timeout=30).call("where") in {"west", "north"}
        waiting = asyncio.ensure_future(calls.for_key(key).options(timeout=60).call("where"))
        brokers["east"].restore()
        await until(lambda: bool(calls.shards["east"].health()))
        await brokers.serve("east")
        assert {await calls.call("where") for _ in range(100)} >= {"west", "north"}
        with pytest.raises(NoRouteError):  # nobody served when it arrived
            await soon(waiting)
        assert await calls.for_key(key).call("where") == "east"


async def test_it_says_why_none_can_be_reached(brokers: Brokers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "0.05")
    calls = ShardedClient({name: f"amqp://user:hidden@127.0.0.1:{port}/" for port, name in enumerate(NAMES, 1)})
    with pytest.raises(ConnectionLostError) as error:
        await calls.connect()
    assert all(f"{name}: " in str(error.value) for name in NAMES)
    assert "hidden" not in str(error.value) + repr(calls)
    with pytest.raises(ConnectionLostError):
        await calls.call("where")
    await calls.close()


async def test_closing_ends_all_calls_and_it_connects_again(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    calls = client(name="gateway")
    await calls.connect()
    await calls.connect()
    brokers.gate.clear()
    pending = [asyncio.ensure_future(calls.options(idempotent=number % 2 == 0).call("where")) for number in range(20)]
    await until(lambda: calls.pending == 20)
    await calls.close()
    await calls.close()
    ended = await soon(asyncio.gather(*pending, return_exceptions=True))
    assert {type(error) for error in ended} == {ConnectionLostError}
    assert not calls.health()
    brokers.gate.set()
    async with calls:
        assert await soon(calls.call("where")) in NAMES
    assert all(name in repr(calls) for name in ("gateway", "east: closed"))


async def test_cancelling_a_call_ends_it_everywhere(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        brokers.gate.clear()
        call = asyncio.ensure_future(calls.options(idempotent=True).call("where"))
        await until(lambda: len(brokers.runs) == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert calls.pending == 0


async def test_what_belongs_to_one_broker_is_refused_or_reached_by_its_client(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        with pytest.raises(ConfigurationError, match=r"client\.shards\.values"):
            calls.broadcast("where")
        with pytest.raises(ConfigurationError, match=r"client\.shards\.values"):
            calls.options(timeout=1).broadcast("where")
        heard = [reply.result for shard in calls.shards.values() async for reply in shard.broadcast("where")]
        assert sorted(heard) == sorted(NAMES)
        found = await asyncio.gather(*(shard.workers() for shard in calls.shards.values()))
        assert Counter(worker.name for workers in found for worker in workers) == {
            f"worker {name}": 1 for name in NAMES
        }


@pytest.mark.parametrize(
    "shards", [[], {}, "memory://a", None, {"": "memory://a"}, {1: "memory://a"}, [1], [["memory://a"]]]
)
def test_brokers_that_are_none_are_refused(shards: Any) -> None:
    with pytest.raises(ConfigurationError, match="shards="):
        ShardedClient(shards)


def test_a_broker_is_not_given_twice() -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        ShardedClient(["memory://a", "memory://a"])


async def test_a_view_says_whose_it_is(brokers: Brokers) -> None:
    calls = client(name="gateway")
    assert "gateway" in repr(calls.for_key("a").options(timeout=5))
    assert "timeout=5" in repr(calls.for_key("a").options(timeout=5))


async def test_progress_and_uploads(brokers: Brokers) -> None:
    servers = [RpcServer(url=f"memory://{name}") for name in NAMES]

    async def count(numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    async def slow() -> str:
        current_call().progress(0.5)
        await released.wait()
        return "done"

    async def numbers() -> AsyncIterator[int]:
        for number in range(10):
            yield number

    for server in servers:
        server.add_service(count)
        server.add_service(slow)
    heard: list[Any] = []
    released = asyncio.Event()
    async with servers[0].serving(), servers[1].serving(), servers[2].serving(), client() as calls:
        assert await soon(calls.call(count, numbers())) == 45
        call = asyncio.ensure_future(calls.options(on_progress=heard.append).call("slow"))
        await until(lambda: bool(heard))
        released.set()
        assert await soon(call) == "done"
    assert [report.fraction for report in heard] == [0.5]


async def _elsewhere(work: Callable[[], Awaitable[Any]]) -> Any:
    return await work()


async def test_it_belongs_to_one_loop(brokers: Brokers, caplog: pytest.LogCaptureFixture) -> None:
    await brokers.serve("east")
    with caplog.at_level(logging.ERROR):
        async with client() as calls:

            def other() -> None:
                with pytest.raises(ConfigurationError, match="loop"):
                    asyncio.run(_elsewhere(lambda: calls.options(timeout=5).call("where")))

            await asyncio.to_thread(other)
            assert await calls.call("where") == "east"
