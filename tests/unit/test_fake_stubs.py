"""Stubs of the fake broker, assertions about calls, and strict mode."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY, AsyncMock, create_autospec

import pytest
from aiormq.exceptions import DeliveryError, PublishError

from rabibridge import (
    CallTimeoutError,
    ConnectionLostError,
    InvalidArgumentsError,
    NoRouteError,
    QueueFullError,
    RemoteExecutionError,
    RMQClient,
    register_call,
)
from rabibridge_core.errors import ConfigurationError, RegistrationError
from rabibridge_testing import FakeBroker, fake_broker_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.usefixtures("clean_place")


@register_call
async def add(left: int, right: int = 0) -> int:
    raise NotImplementedError


@register_call
def subtract(left: int, right: int) -> int:
    raise NotImplementedError


@register_call
async def countdown(start: int) -> AsyncIterator[int]:
    raise NotImplementedError
    yield 0


def multiply(left: int, right: int) -> int:
    return left * right


async def test_a_result_an_error_and_a_function(fake_broker: FakeBroker) -> None:
    stub = fake_broker.stub("add", returns=3)
    async with RMQClient() as client:
        assert await client.call("add", 1, 2) == 3
        stub.raises(ValueError("too large"))
        with pytest.raises(RemoteExecutionError, match="too large"):
            await client.call("add", 1, 2)
        stub.side_effect(multiply)
        assert await client.call("add", 4, 5) == 20
        stub.side_effect(AsyncMock(return_value=7))
        assert await client.call("add", 4, 5) == 7
    assert stub.call_count == 4


async def test_one_answer_after_another(fake_broker: FakeBroker) -> None:
    fake_broker.stub("add", side_effect=[1, QueueFullError, NoRouteError(""), KeyError("no"), 2])
    async with RMQClient() as client:
        assert await client.call("add") == 1
        with pytest.raises(QueueFullError, match="the queue of the service is full"):
            await client.call("add")
        with pytest.raises(NoRouteError, match="no worker has registered"):
            await client.call("add")
        with pytest.raises(RemoteExecutionError):
            await client.call("add")
        assert await client.call("add") == 2
        with pytest.raises(RemoteExecutionError, match="used up: 5 of 5"):
            await client.call("add")


async def test_faults_of_the_broker(fake_broker: FakeBroker) -> None:
    fake_broker.stub("late", raises=CallTimeoutError)
    fake_broker.stub("cut", raises=ConnectionLostError)
    fake_broker.stub("add", returns=1)
    async with RMQClient() as client:
        with pytest.raises(CallTimeoutError):
            await client.options(timeout=0.05).call("late")
        with pytest.raises(ConnectionLostError):
            await client.call("cut")
        assert await client.call("add") == 1


async def test_the_signature_and_the_annotations_hold(fake_broker: FakeBroker) -> None:
    stub = fake_broker.stub(add).returns(3)
    async with RMQClient() as client:
        assert await client.call(add, 1) == 3
        with pytest.raises(InvalidArgumentsError, match="unexpected"):
            await client.call("add", 1, wrong=2)
    with pytest.raises(TypeError, match="'add' has a result, 'three', that does not fit the annotation int"):
        fake_broker.stub(add, returns="three")
    with pytest.raises(TypeError):
        stub.side_effect([1, "2"])  # type: ignore[list-item]
    stub.side_effect(lambda left, right=0: "three")  # type: ignore[arg-type, return-value]
    async with RMQClient() as client:
        with pytest.raises(RemoteExecutionError, match="'three'"):
            await client.call(add, 1)


async def test_sync_functions_and_kinds(fake_broker: FakeBroker) -> None:
    fake_broker.stub(subtract).returns(1)
    fake_broker.stub("divide", returns=2.5, kind="sync")
    async with RMQClient() as client:
        assert await client.call(subtract, 3, 2) == 1
        assert await client.options(kind="sync").call("divide", 5, 2) == 2.5
        with pytest.raises(NoRouteError):
            await client.options(kind="async").call("divide", 5, 2)


async def test_streams_notifications_and_broadcasts(fake_broker: FakeBroker) -> None:
    fake_broker.stub(countdown, items=[3, 2, 1])
    fake_broker.stub("broken", items=["a"], raises=ValueError("torn"))
    told = fake_broker.stub("told")
    fake_broker.stub("ping", returns="pong")
    async with RMQClient() as client:
        async with client.stream(countdown, 3) as stream:
            assert [item async for item in stream] == [3, 2, 1]
        items = []
        async with client.stream("broken") as broken:
            items.append(await anext(broken))
            with pytest.raises(RemoteExecutionError, match="torn"):
                await anext(broken)
        assert items == ["a"]
        await client.notify("told", 1)
        assert (await fake_broker.wait_for_call("told")).args == (1,)
        assert [answer.result async for answer in client.broadcast("ping")] == ["pong"]
    told.assert_called_once_with(1)
    fake_broker.assert_called("ping")
    assert [one.service for one in fake_broker.broadcasts] == ["ping"]


async def test_assertions_say_what_differs(fake_broker: FakeBroker) -> None:
    stub = fake_broker.stub(add, returns=0)
    with pytest.raises(AssertionError, match="Nothing was called"):
        stub.assert_called()
    stub.assert_not_called()
    async with RMQClient() as client:
        await client.call(add, 1, right=2)
        fake_broker.assert_called_once_with(add, 1, 2)
        fake_broker.assert_called_once_with(add, left=1, right=ANY)
        with pytest.raises(AssertionError) as caught:
            stub.assert_called_once_with(1, 3)
        assert str(caught.value) == "expected call not found.\nExpected: add(1, 3)\n  Actual: add(1, 2)"
        await client.call(add, 5)
        with pytest.raises(AssertionError, match=r"called 2 times. Calls:\n  add\(1, 2\)\n  add\(5\)"):
            fake_broker.assert_called_once(add)
        stub.assert_any_call(1, 2)
        with pytest.raises(AssertionError, match=r"add\(9\) call not found. Calls:\n  add\(1, 2\)"):
            stub.assert_any_call(9)
        with pytest.raises(AssertionError, match="'add' was; did you mean that"):
            fake_broker.assert_called("addd")
    fake_broker.stub("store", returns=None)
    async with RMQClient() as client:
        await client.call("store", {"names": ["Ada"] * 9, "kind": "person", "tuple": (1, 2)})
    fake_broker.assert_called_with("store", {"names": ["Ada"] * 9, "kind": "person", "tuple": (1, 2)})
    with pytest.raises(AssertionError) as caught:
        fake_broker.assert_called_with("store", {"names": ["Ada"] * 9, "kind": "company", "tuple": (1, 2)})
    assert "- {'kind': 'person'," in str(caught.value)
    assert "+ {'kind': 'company'," in str(caught.value)


async def test_waiting_for_a_call(fake_broker: FakeBroker) -> None:
    fake_broker.stub("add", returns=0)
    async with RMQClient() as client:
        waiting = asyncio.ensure_future(fake_broker.wait_for_call("add", count=2))
        await client.call("add", 1)
        assert not waiting.done()
        await client.call("add", 2)
        assert (await waiting).args == (2,)
    with pytest.raises(AssertionError, match="'add' was called 2 times"):
        await fake_broker.wait_for_call("add", count=3, timeout=0.01)


def test_strict_mode_names_the_nearest_service_and_unused_stubs() -> None:
    async def calls(*names: str) -> None:
        async with RMQClient() as client:
            for name in names:
                await client.try_remote_call(name)

    async def fails() -> None:
        raise RuntimeError("the error of the body")

    with pytest.raises(AssertionError, match=r"'ad' was called, and nobody serves it: did you mean 'add'\?"):
        strict("add", lambda: calls("ad", "add"))
    with pytest.raises(AssertionError, match="the stub of 'add' was not called"):
        strict("add", calls)
    with pytest.raises(AssertionError, match="the stub of 'add' has no result"):
        strict("add", lambda: calls("add"), answered=False)
    with pytest.raises(RuntimeError, match="the error of the body"):
        strict("add", fails)
    strict("add", lambda: calls("add"))


def test_strict_mode_names_a_fault_that_can_strike_nothing() -> None:
    def misspelled() -> None:
        with fake_broker_context(strict=True) as broker:
            broker.add_service(add)
            broker.refuse("ad")
            broker.delay(0.1, "add")

    with pytest.raises(AssertionError, match=r"a fault is for 'ad', which is neither served nor called: .* 'add'\?"):
        misspelled()


def strict(name: str, main: Any, *, answered: bool = True) -> None:
    with fake_broker_context(strict=True) as broker:
        stub = broker.stub(name)
        if answered:
            stub.returns(1)
        asyncio.run(main())


async def test_reset_begins_anew(fake_broker: FakeBroker) -> None:
    fake_broker.stub("add", returns=1)
    async with RMQClient() as client:
        assert await client.call("add") == 1
        fake_broker.refuse("add")
        fake_broker.block()
        fake_broker.reset()
        assert fake_broker.calls == []
        with pytest.raises(NoRouteError):
            await client.call("add")
        fake_broker.add_service(create_autospec(add, return_value=5))
        assert await client.call("add", 1) == 5


async def test_mocks_are_served_as_what_they_stand_for(fake_broker: FakeBroker) -> None:
    spec = create_autospec(add, return_value=4)
    schema = fake_broker.add_service(spec)
    assert (schema.name, schema.is_async) == ("add", True)
    fake_broker.add_service(AsyncMock(return_value=6), name="other")
    with pytest.raises(RegistrationError, match=r"add_service\(mock, name=...\)"):
        fake_broker.add_service(AsyncMock(spec=add))
    async with RMQClient() as client:
        assert await client.call(add, 1) == 4
        assert await client.call("other") == 6
    spec.assert_awaited_once_with(1)


async def test_a_stub_and_a_function_of_one_name_are_refused(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(add)
    with pytest.raises(RegistrationError, match="already serves 'add'"):
        fake_broker.stub("add", returns=1)
    with pytest.raises(TypeError, match="one answer"):
        fake_broker.stub("other", returns=1, side_effect=[2])


@pytest.mark.parametrize(
    "inject",
    [
        lambda broker: broker.delay(-1),
        lambda broker: broker.delay(float("nan")),
        lambda broker: broker.duplicate(kind="nonsense"),
        lambda broker: broker.drop_replies(times=0),
        lambda broker: broker.refuse("no name"),
    ],
)
def test_faults_that_cannot_be_meant_are_refused(fake_broker: FakeBroker, inject: Any) -> None:
    with pytest.raises((ValueError, ConfigurationError)):
        inject(fake_broker)
    assert fake_broker.faults == []


async def test_refusals_have_the_classes_that_they_have_on_rabbitmq(fake_broker: FakeBroker) -> None:
    fake_broker.stub("full", raises=QueueFullError)
    async with RMQClient() as client:
        with pytest.raises(DeliveryError):
            await client.call("full")
        with pytest.raises(PublishError):
            await client.call("nobody")


async def test_how_a_call_ended(fake_broker: FakeBroker) -> None:
    fake_broker.stub("hang", raises=CallTimeoutError)
    async with RMQClient() as client:
        call = asyncio.ensure_future(client.call("hang"))
        await fake_broker.wait_for_call("hang")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        with pytest.raises(CallTimeoutError):
            await client.options(timeout=0.02).call("hang")
    assert [one.outcome for one in fake_broker.calls] == ["cancelled", "expired"]
