"""Classes of criticality: what may be registered, what the options of a call say, and where calls are sent."""

from __future__ import annotations

import asyncio
import pickle
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core._client.options import CallOptions, GivenOptions
from rabibridge_core._client.routes import ClassRoutes, RouteCache, critical
from rabibridge_core._observability.call_context import CurrentCall, current_call
from rabibridge_core._protocol.headers import CheckedHeaders
from rabibridge_core._protocol.naming import (
    of_class,
    routing_key,
    service_of_queue,
    service_of_routing_key,
    split_class,
)
from rabibridge_core._services.classes import slots_of
from rabibridge_core._services.interface import service
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.registration import register_call
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import ConfigurationError, NoRouteError, RegistrationError
from rabibridge_core.rpc import RpcClient, RpcServer
from tests.unit.client_support import make_client, reply, sent, turns
from tests.unit.scripted_transport import ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core._client.client import Client
    from rabibridge_testing import FakeBroker

_names = st.text("ab_.-:", min_size=1, max_size=6).filter(lambda name: ":" not in name)


async def work(x: int = 0) -> int:
    return x


def _schema(**limits: Any) -> ServiceSchema:
    return ServiceSchema.of(work, ServiceLimits(**limits))


@pytest.mark.parametrize(
    "classes",
    [
        {}, ["interactive"], "interactive", {"a": -1}, {"a": True}, {"a": 1.5}, {"a": "1"}, {"": 1}, {"a:b": 1},
        {"ä": 1}, {1: 1}, {"x" * 33: 1}, {str(number): 1 for number in range(9)}, {"a b": 1}, {"a": 2**31},
    ],
)  # fmt: skip
def test_what_no_class_can_be_is_refused_with_the_name_of_the_service(classes: Any) -> None:
    with pytest.raises(RegistrationError, match="service 'work'"):
        register_call(classes=classes)(work)


def test_classes_and_one_bound_for_all_contradict_each_other() -> None:
    with pytest.raises(RegistrationError, match="leave queue_size out, or classes"):
        register_call(10, classes={"a": 1})(work)


def test_a_method_has_the_bounds_that_it_is_given_itself() -> None:
    @service(classes={"interactive": 1, "batch": 2})
    class Shop:
        async def price(self) -> None: ...

        @register_call(queue_size=7)
        async def order(self) -> None: ...

        @register_call(classes={"fast": 3})
        async def stock(self) -> None: ...

    server = RpcServer(url="memory://classes")
    bounds = {one.name: (one.queue_size, dict(one.classes)) for one in server.add_service(Shop())}
    assert bounds == {
        "Shop.price": (1, {"interactive": 1, "batch": 2}),
        "Shop.order": (7, {}),
        "Shop.stock": (3, {"fast": 3}),
    }
    own = server.add_service(work, name="own", classes={"a": None})
    assert own.queues[0].queue_size is None


def test_the_first_class_has_the_queue_and_the_keys_of_the_service() -> None:
    plain = _schema(queue_size=5, timeout=3, redelivery_limit=2, queue_type="quorum", fetch_size=8, fetch_ahead=2)
    classed = _schema(
        classes={"high": 5, "low": 50}, timeout=3, redelivery_limit=2, queue_type="quorum", fetch_size=8, fetch_ahead=2
    )
    first, second = classed.queues
    (before,) = plain.queues
    assert first.routing_keys == (*before.routing_keys, "async_work:high", "any:work:high")
    assert (first.name, first.queue_size, first.fetch_size) == (before.name, 5, 10)
    assert (second.name, second.queue_size, second.fetch_size) == ("rpc_async_work:low", 50, 9)
    assert second.routing_keys == ("async_work:low", "any:work:low")
    assert second.any_keys == ("any:work:low",)
    assert second.other_queue == "rpc_sync_work:low"
    assert (second.timeout, second.redelivery_limit, second.queue_type) == (3, 2, "quorum")
    changed = classed.with_limits(fetch_size=16)
    assert (changed.classes, [queue.fetch_size for queue in changed.queues]) == (classed.classes, [18, 16])


def test_the_order_of_classes_belongs_to_a_service() -> None:
    assert _schema(classes={"a": 1, "b": 1}) != _schema(classes={"b": 1, "a": 1})
    assert pickle.loads(pickle.dumps(_schema(classes={"a": 1}))) == _schema(classes={"a": 1})


@given(_names, _names, _names, _names, st.sampled_from(["async", "sync", "any"]))
def test_no_key_of_a_class_is_one_of_another_service(one: str, first: str, other: str, second: str, kind: Any) -> None:
    keys = {routing_key(one, kind), of_class(routing_key(one, kind), first)}
    others = {routing_key(other, kind), of_class(routing_key(other, kind), second)}
    assert one == other or not keys & others
    key = of_class(routing_key(one, kind), first)
    assert split_class(key) == (routing_key(one, kind), first)
    assert split_class(routing_key(one, kind)) == (routing_key(one, kind), "")
    assert service_of_routing_key(key) == one
    assert service_of_queue(of_class(f"rpc_sync_{one}", first)) == one


@given(st.integers(1, 300), st.integers(1, 8))
def test_each_class_leaves_slots_to_those_above_it_and_gets_one(concurrency: int, classes: int) -> None:
    slots = [slots_of(index, concurrency) for index in range(classes)]
    assert slots[0] == concurrency
    assert min(slots) >= 1
    for above, below in pairwise(slots):
        assert above > below or below == 1


@pytest.mark.parametrize("criticality", ["", "a b", "x" * 33, 7, "a:b", "\0", b"batch"])
def test_what_no_class_can_be_called_is_refused_by_options(criticality: Any) -> None:
    client = RpcClient(url="memory://classes")
    with pytest.raises(ConfigurationError, match="criticality is"):
        client.options(criticality=criticality)
    with pytest.raises(ConfigurationError, match="criticality is"):
        client.stub("work", criticality=criticality)
    with pytest.raises(ConfigurationError, match="reserved"):
        client.options(headers={"rb-criticality": "batch"})


def test_options_add_up() -> None:
    before = GivenOptions(criticality="batch", headers={"a": 1})
    given = GivenOptions(timeout=2.0, headers={"b": 2}).over(before)
    kind, _, *_, headers = given.of_a_call("any", None)
    assert (kind, headers) == critical("any", "batch", {"a": 1, "b": 2})
    assert type(headers) is CheckedHeaders
    assert GivenOptions(criticality="online").over(given).criticality == "online"
    assert pickle.loads(pickle.dumps(given)) == given


def test_a_header_of_a_peer_is_no_class_unless_it_is_a_name() -> None:
    class Request:
        def __init__(self, named: object) -> None:
            self.headers = {"rb-criticality": named}

    for named in ("a b", "", 7, True, b"batch", "x" * 33, None):
        assert CurrentCall("work", cast("Any", Request(named))).criticality is None
    assert CurrentCall("work", cast("Any", Request("batch"))).criticality == "batch"


def test_a_client_that_names_ever_new_classes_keeps_few_of_them() -> None:
    routes = RouteCache(ClassRoutes())
    for number in range(1000):
        kind, _ = critical("async", f"class{number}", None)
        assert routes.add("work", kind) == f"async_work:class{number}"
    assert len(routes) <= 64


async def test_a_class_that_is_not_there_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rabibridge_core._client.routes._LOOK_AGAIN", 0.05)
    transport = ScriptedTransport()
    transport.open.set()
    client = make_client(transport)
    await client.connect()
    assert await _one_call(client, transport, returned={"async_work:batch"}) == ["async_work:batch", "async_work"]
    assert await _one_call(client, transport, returned={"async_work:batch"}) == ["async_work"]
    await asyncio.sleep(0.1)
    assert await _one_call(client, transport) == ["async_work:batch"]
    await client.close()


async def test_a_service_that_is_not_there_is_named_by_its_error() -> None:
    transport = ScriptedTransport()
    transport.open.set()
    client = make_client(transport)
    await client.connect()
    with pytest.raises(NoRouteError, match="call of 'work' refused"):
        await _one_call(client, transport, returned={"async_work:batch", "async_work"})
    await client.close()


async def _one_call(client: Client, transport: ScriptedTransport, returned: set[str] | None = None) -> list[str]:
    """Make a call of the class ``batch`` while the broker has no queue for some keys; return where it was sent."""
    kind, headers = critical("async", "batch", None)
    before = len(transport.sent)
    call = asyncio.create_task(client.call("work", (), {}, CallOptions(kind, headers=headers)))
    *_, cid = await sent(transport, before + 1)
    while transport.sent[-1].routing_key in (returned or ()):
        count = len(transport.sent)
        client.calls.refused(cid, NoRouteError, "no service")
        await turns(lambda: len(transport.sent) > count or call.done())  # noqa: B023 - it is awaited at once
        if call.done():
            break
    if not call.done():
        client.calls.replied(cid, reply(1))
    await call
    assert all((one.headers or {})["rb-criticality"] == "batch" for one in transport.sent[before:])
    return [one.routing_key for one in transport.sent[before:]]


async def test_every_shape_of_call_names_the_class(fake_broker: FakeBroker) -> None:
    seen: list[str | None] = []

    @service(name="Shop", classes={"interactive": None, "batch": None})
    class Shop:
        async def price(self, x: int) -> int:
            seen.append(current_call().criticality)
            return x

    fake_broker.add_service(Shop())
    async with RpcClient(url="memory://fake") as client:
        batch = client.options(criticality="batch")
        assert await client.service(Shop, criticality="batch").price(1) == 1
        assert await client.stub("Shop.price", criticality="batch")(2) == 2
        assert await batch.remote_call("Shop.price", (3,)) == 3
        assert await batch.call("Shop.price", 4) == 4
        assert await batch.try_remote_call("Shop.price", (5,)) == (True, (0, 5))
        assert [x async for x in batch.map("Shop.price", [6, 7])] == [6, 7]
        await batch.notify("Shop.price", 8)
        assert [one.result async for one in batch.broadcast("Shop.price", 9)] == [9]
        assert await client.call("Shop.price", 10) == 10
    assert seen == ["batch"] * 9 + [None]
    keys = [trace.request.routing_key for trace in fake_broker.traces]
    assert {key.rpartition(":")[2] for key in keys} == {"batch", "Shop.price"}


async def test_a_stream_is_of_a_class_also_where_the_service_has_none() -> None:
    async def count(n: int) -> AsyncIterator[tuple[int, str | None]]:
        for number in range(n):
            yield number, current_call().criticality

    server = RpcServer(url="memory://streams-of-classes")
    for name, classes in (("classed", {"interactive": 5, "batch": 5}), ("plain", None)):
        server.add_service(count, name=name, classes=classes)
    async with server.serving(), RpcClient(url="memory://streams-of-classes") as client:
        batch = client.options(criticality="batch", timeout=30)
        for name in ("classed", "plain"):
            assert [item async for item in batch.stream(name, 2)] == [[0, "batch"], [1, "batch"]]
