"""Calls that could only wait for their own chain: in threads, by every kind of limit, and what a chain may hold."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import DeadlockError, RemoteExecutionError, RMQClient, RMQServer, current_call, request_scope
from rabibridge.sync import Client
from rabibridge_core._client.call_chains import CallChains, suspicion
from rabibridge_core._protocol.call_chains import LINKS_MAX, SIZE_MAX, chain_in, joined, links_of
from rabibridge_core._protocol.headers import CHAIN
from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_testing import MemoryBroker
from tests.support.waiting import PATIENCE, soon, until
from tests.unit.signing_support import AES, HMAC, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LONG = 10 * PATIENCE


class Deeper:
    """A service that calls itself as often as it is told."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.client = RMQClient(transport=self.broker.transport())
        self.refused: list[DeadlockError] = []
        self.running = 0
        self.called: Callable[[int], Any] = self.call

    async def call(self, level: int) -> Any:
        return await self.client.options(timeout=LONG).call("deeper", level)

    async def deeper(self, level: int) -> int:
        self.running += 1
        try:
            return level and 1 + int(await self.called(level - 1))
        except DeadlockError as error:
            self.refused.append(error)
            raise
        finally:
            self.running -= 1

    async def server(self, **limits: Any) -> RMQServer:
        server = RMQServer(transport=self.broker.transport())
        server.add_service(self.deeper, name="deeper", **limits)
        return server

    async def refuses(self, level: int) -> DeadlockError:
        """Check that a call of so many levels is refused and not one of a level less; return why."""
        self.refused.clear()
        assert await soon(self.call(level - 1)) == level - 1
        assert not self.refused
        with pytest.raises(RemoteExecutionError):
            await soon(self.call(level))
        (error,) = self.refused
        return error


@pytest.fixture
async def deeper() -> AsyncIterator[Deeper]:
    deeper = Deeper()
    async with deeper.client:
        yield deeper


@pytest.mark.parametrize(
    "limits",
    [{}, {"delivery": "at-most-once"}, {"fetch_ahead": 4}, {"fair": True}, {"idempotent": True}],
    ids=str,
)
async def test_every_kind_of_service_finds_it(deeper: Deeper, limits: dict[str, Any]) -> None:
    async with (await deeper.server(fetch_size=2, **limits)).serving():
        error = await deeper.refuses(2)
    assert error.chain == ("deeper",) * 3
    assert str(error).startswith(
        "call of 'deeper' refused: deeper → deeper → deeper could only wait for itself: the calls that wait for it "
        "hold all 2 places of 'deeper' on the only worker that there is; give it a larger fetch_size or more workers"
    )


async def test_the_scope_of_a_request_hides_no_chain(deeper: Deeper) -> None:
    async def within(level: int) -> Any:
        with request_scope(timeout=LONG):
            return await deeper.call(level)

    deeper.called = within
    async with (await deeper.server(fetch_size=1)).serving():
        await deeper.refuses(1)


async def test_a_limit_that_was_raised_meanwhile_counts(deeper: Deeper) -> None:
    changed = asyncio.Event()

    async def once_changed(level: int) -> Any:
        await changed.wait()
        return await deeper.call(level)

    deeper.called = once_changed
    server = await deeper.server(fetch_size=1)
    async with server.serving():
        call = asyncio.ensure_future(deeper.call(1))
        await until(lambda: deeper.running == 1)
        await soon(server.update_service("deeper", fetch_size=2))
        changed.set()
        assert await soon(call) == 1
    assert not deeper.refused


async def test_it_holds_in_threads_with_a_client_that_is_not_async() -> None:
    url, refused = "memory://chains-in-threads", list[DeadlockError]()
    client = Client(url=url)

    def deeper(level: int) -> int:
        try:
            return level and 1 + int(client.options(timeout=LONG).call(deeper, level - 1))
        except DeadlockError as error:
            refused.append(error)
            raise

    server = RMQServer(url=url)
    server.add_service(deeper, fetch_size=2)
    async with server.serving():
        assert await soon(asyncio.to_thread(client.call, deeper, 1)) == 1
        with pytest.raises(RemoteExecutionError):
            await soon(asyncio.to_thread(client.call, deeper, 2))
        await soon(asyncio.to_thread(client.close))
    assert [error.chain for error in refused] == [("deeper",) * 3]


async def test_signed_and_encrypted_calls_carry_their_chain() -> None:
    keys = settings_of("memory://signed-chains", f"{HMAC}\n{AES}", "hmac", encryption_key_id="aes")
    client, chains = RpcClient(settings=keys), list[object]()

    async def deeper(level: int) -> int:
        chains.append(current_call().headers.get(CHAIN))
        return level and 1 + int(await client.options(timeout=LONG).call("deeper", level - 1))

    server = RpcServer(settings=keys)
    server.add_service(deeper, name="deeper", fetch_size=2)
    async with server.serving(), client:
        assert await soon(client.call("deeper", 1)) == 1
        with pytest.raises(RemoteExecutionError, match="deeper → deeper → deeper could only wait"):
            await soon(client.call("deeper", 2))
    assert [len(links_of(str(chain or ""))) for chain in chains] == [0, 1, 0, 1]


async def test_a_worker_that_does_not_know_the_question_makes_the_call_wait(
    deeper: Deeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rabibridge_core._protocol.control._QUESTIONS", ("ping", "status", "services", "calls"))
    server = await deeper.server(fetch_size=1)
    async with server.serving():
        call = asyncio.ensure_future(deeper.call(1))
        await until(lambda: deeper.client.pending == 2)  # the second one was sent
        assert not deeper.refused
        call.cancel()
        await until(lambda: deeper.running == 0)


@pytest.mark.parametrize("consumers", [None, 0, 2], ids=["not told", "nobody", "one more than has answered"])
async def test_what_the_broker_says_is_not_known_makes_the_call_wait(
    deeper: Deeper, monkeypatch: pytest.MonkeyPatch, consumers: int | None
) -> None:
    async def look(self: object, queue: str) -> tuple[int, int] | None:
        return None if consumers is None else (consumers, 0)

    monkeypatch.setattr("rabibridge_testing._memory.caller.MemoryCaller.look", look)
    server = await deeper.server(fetch_size=1)
    async with server.serving():
        call = asyncio.ensure_future(deeper.call(1))
        await until(lambda: deeper.client.pending == 2)
        assert not deeper.refused
        call.cancel()
        await until(lambda: deeper.running == 0)


async def test_a_question_that_fails_makes_the_call_wait(deeper: Deeper, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    async def fail(self: object) -> None:
        asked.append(self)
        raise ConnectionLostError("cut")

    monkeypatch.setattr(CallChains, "_opened", fail)
    server = await deeper.server(fetch_size=1)
    async with server.serving():
        call = asyncio.ensure_future(deeper.call(1))
        await until(lambda: deeper.client.pending == 2)
        assert len(asked) == 1
        call.cancel()
        await until(lambda: deeper.running == 0)


async def test_only_calls_of_functions_have_a_chain(deeper: Deeper) -> None:
    seen: list[object] = []

    async def note(again: bool) -> None:
        seen.append(current_call().headers.get(CHAIN))
        if again:
            await deeper.client.call(note, False)

    server = RMQServer(transport=deeper.broker.transport())
    server.add_service(note, name="note", fetch_size=7)
    async with server.serving():
        await soon(deeper.client.call(note, False))
        await soon(deeper.client.call(note, True))
    *outer, nested = seen
    assert outer == [None, None]
    assert isinstance(nested, str)
    ((service, places, _, _),) = links_of(nested)
    assert (service, places) == ("note", 7)


def test_a_chain_loses_its_oldest_links_where_it_grows_too_long() -> None:
    chain = ""
    for number in range(LINKS_MAX + 10):
        chain = joined(chain, f"service_{number}", 3, f"worker.{number}")
        assert chain_in({CHAIN: chain}) == chain
    names = [link.service for link in links_of(chain)]
    assert names == [f"service_{number}" for number in range(10, LINKS_MAX + 10)]
    assert (LINKS_MAX, SIZE_MAX) == (64, 4096)
    for _ in range(LINKS_MAX):
        chain = joined(chain, "n" * 200, 65535, "w" * 12 + ".1")
    assert SIZE_MAX - 300 < len(chain) <= SIZE_MAX
    assert chain_in({CHAIN: chain}) == chain


@pytest.mark.parametrize(
    "chain",
    ["", "a", "a:1", "a:1:w", "a:0:w.1", "a:1:w.x", "a:1:w.1 ", " a:1:w.1", "a:1:w.1\n", "a b:1:w.1", "ä:1:w.1",
     "a:1:w.1  a:1:w.2", "a:123456:w.1", 7, b"a:1:w.1", True, " ".join(["a:1:w.1"] * 600)],
)  # fmt: skip
def test_what_is_no_chain_is_taken_for_none(chain: Any) -> None:
    assert chain_in({CHAIN: chain}) == ""


def test_a_chain_is_suspected_where_it_holds_all_places_of_a_worker() -> None:
    assert suspicion("a", "a:2:w.1 b:1:v.1") is None
    assert suspicion("a", "b:1:v.1") is None
    assert suspicion("a", "a:2:w.1 a:2:x.1") is None
    found = suspicion("a", "a:2:w.1 b:1:v.1 a:2:w.2 a:1:x.1 a:3:y.1")
    assert found is not None
    assert found.workers == 2


async def test_a_long_chain_is_shown_with_its_ends(deeper: Deeper) -> None:
    async with (await deeper.server(fetch_size=LINKS_MAX)).serving():
        error = await deeper.refuses(LINKS_MAX)
    assert "deeper → deeper → deeper → (53 more) → deeper" in str(error)
    assert len(error.chain) == 65
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.chain, copy.executed, copy.func_name) == (error.chain, False, "deeper")
