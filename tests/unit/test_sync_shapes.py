"""Stubs, proxies, notifications and broadcasts of the synchronous client, on the in-memory broker."""

from __future__ import annotations

import asyncio
import copy
import inspect
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from rabibridge import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    NoRouteError,
    RemoteExecutionError,
    SerializationError,
    ServiceError,
    service,
)
from rabibridge.sync import Client
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_testing import FakeBroker

pytestmark = pytest.mark.usefixtures("clean_place")


async def add(left: int, right: int = 0) -> int:
    return left + right


async def wrong() -> int:
    return "no number"  # type: ignore[return-value]


@service
class Counter(Protocol):
    def count(self, by: int) -> int: ...


async def count(by: int) -> int:
    return by + 1


class OutOfStock(ServiceError, code="out_of_stock"):
    sku: str


@pytest.fixture
def client(fake_broker: FakeBroker) -> Iterator[Client]:
    fake_broker.add_service(add)
    fake_broker.add_service(wrong)
    fake_broker.add_service(count, name="Counter.count")
    with Client() as client:
        yield client
        assert client.pending == 0


def test_stubs(client: Client, fake_broker: FakeBroker) -> None:
    stub = client.stub(add, timeout=PATIENCE)
    assert stub(1, right=2) == 3
    assert stub.__name__ == "add"
    assert "add" in repr(stub)
    assert copy.copy(stub) is copy.deepcopy(stub) is stub
    assert client.options(timeout=PATIENCE).stub("add")(1) == 1
    assert client.stub(stub, timeout=PATIENCE)(1) == 1
    assert inspect.signature(stub) == inspect.signature(add)
    with pytest.raises(SerializationError):
        client.stub(wrong)()
    assert client.stub(wrong, validate=False)() == "no number"  # type: ignore[comparison-overlap]
    with fake_broker.drop_replies(), pytest.raises(CallTimeoutError):
        stub.options(timeout=0.05)(1)


def test_a_stub_is_pickled_without_its_client(client: Client) -> None:
    for stub in (
        client.stub(add, timeout=PATIENCE),
        client.stub("add", timeout=PATIENCE),
        client.stub(add).bind(client),
    ):
        arrived = pickle.loads(pickle.dumps(stub))
        assert "no client" in repr(arrived)
        with pytest.raises(ConfigurationError, match=r"'add' has no client.*bind\(client\)"):
            arrived(1, 2)
        assert arrived.bind(client)(1, 2) == 3
        bound = arrived.options(timeout=30).bind(client.options(persistent=True))
        assert bound(1, 2) == 3
        assert (bound._calls._given.timeout, bound._calls._given.persistent) == (30, True)
    with pytest.raises(SerializationError):
        pickle.loads(pickle.dumps(client.stub(wrong))).bind(client)()
    assert pickle.loads(pickle.dumps(client.stub(wrong, validate=False))).bind(client)() == "no number"
    assert pickle.loads(pickle.dumps(client.service(Counter).count)).bind(client)(1) == 2


def test_proxies(client: Client) -> None:
    counter = client.service(Counter, timeout=PATIENCE)
    assert counter.count(1) == 2
    assert "Counter" in repr(counter)
    with pytest.raises(AttributeError, match="remote methods are: count"):
        counter.sum()  # type: ignore[attr-defined]


def test_notifications(client: Client, fake_broker: FakeBroker) -> None:
    seen: list[int] = []
    told = threading.Event()

    def note(number: int) -> None:
        seen.append(number)
        told.set()

    fake_broker.add_service(note)
    client.notify(note, 7)
    assert told.wait(PATIENCE)
    client.options(timeout=PATIENCE, headers={"tenant": "a"}).notify("note", 8)
    with pytest.raises(NoRouteError):
        client.notify("nobody")
    with pytest.raises(TypeError):
        client.notify(Client)


def test_the_first_use_may_be_a_notification_or_a_broadcast(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(add)
    first = Client()
    first.options(timeout=PATIENCE).notify(add, 1)
    first.close()
    second = Client()
    assert [reply.result for reply in second.broadcast(add, 1)] == [1]
    second.close()


def test_broadcasts(client: Client) -> None:
    broadcast = client.options(timeout=PATIENCE).broadcast(add, 1, right=2)
    assert "not sent" in repr(broadcast)
    assert (broadcast.missing, broadcast.silent, broadcast.complete) == ((), None, False)
    (reply,) = broadcast
    assert reply.result == 3
    assert broadcast.complete
    assert broadcast.missing == ()
    with pytest.raises(RuntimeError, match="sent already"):
        list(broadcast)
    with pytest.raises(NoRouteError):
        list(client.broadcast("nobody"))
    with pytest.warns(RuntimeWarning, match="never sent"):
        client.broadcast(add, 1)


def test_closing_ends_an_iteration_in_another_thread(client: Client, fake_broker: FakeBroker) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    fake_broker.add_service(forever)
    replies = iter(client.options(timeout=PATIENCE).broadcast(forever))
    with ThreadPoolExecutor(1) as pool:
        step = pool.submit(next, replies)
        assert begun.wait(PATIENCE)
        client.close()  # ends the broadcast in the other thread
        with pytest.raises(ConnectionLostError):
            step.result(PATIENCE)
    assert cancelled.wait(PATIENCE)
    client.connect()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_iteration_does_not_cross_a_fork(client: Client) -> None:
    replies: Any = iter(client.options(timeout=PATIENCE).broadcast(add, 1))
    next(replies)
    child = os.fork()
    if child == 0:
        try:
            next(replies)
        except ConnectionLostError:
            os._exit(3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert next(replies, None) is None


def test_declared_errors(client: Client, fake_broker: FakeBroker) -> None:
    async def order(sku: str) -> None:
        raise OutOfStock(sku)

    fake_broker.add_service(order)
    with pytest.raises(OutOfStock) as raised:
        client.call(order, "tea")
    assert raised.value.sku == "tea"
    with pytest.raises(OutOfStock):
        client.stub(order)("tea")
    with pytest.raises(OutOfStock):
        client.call(client.stub(order), "tea")


def test_map_draws_its_input_in_the_thread_that_iterates(client: Client) -> None:
    threads = set()

    def numbers(count: int) -> Iterator[int]:
        for number in range(count):
            threads.add(threading.current_thread())
            yield number

    assert list(client.map(add, numbers(200), concurrency=8)) == list(range(200))
    assert sorted(client.map("add", numbers(50), ordered=False)) == list(range(50))
    assert threads == {threading.current_thread()}
    assert list(client.starmap(add, [(1, 2), (3, 4)])) == [3, 7]
    assert list(client.options(timeout=PATIENCE).map(add, [])) == []


def test_errors_end_a_map(client: Client, fake_broker: FakeBroker) -> None:
    async def picky(number: int) -> int:
        if number == 3:
            raise ValueError(number)
        return number

    fake_broker.add_service(picky)
    seen: list[int] = []
    results = client.map(picky, range(10))
    with pytest.raises(RemoteExecutionError):
        seen.extend(iter(results.__next__, None))
    assert seen == [0, 1, 2]
    everything = list(client.map(picky, range(5), return_exceptions=True))
    assert isinstance(everything[3], RemoteExecutionError)

    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("the input")

    with pytest.raises(LookupError, match="the input"):
        list(client.map(picky, broken()))
    with pytest.raises(ConfigurationError):
        list(client.map(picky, [1], concurrency=0))
    with pytest.raises(TypeError):
        client.map(picky, 7)  # type: ignore[call-overload]


def test_leaving_a_map_cancels_what_runs(client: Client, fake_broker: FakeBroker) -> None:
    cancelled = threading.Event()

    async def hold(number: int) -> int:
        if number == 0:
            return number
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return number

    fake_broker.add_service(hold)
    for result in client.map(hold, range(5)):
        assert result == 0
        break
    assert cancelled.wait(PATIENCE)
    assert client.pending == 0
