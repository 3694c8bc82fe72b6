"""``update_service`` and ``remove_service`` of a server, on the broker in memory and before it is connected."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from rabibridge_core import ConfigurationError, InvalidArgumentsError, QueueFullError, RegistrationError
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_testing import MemoryBroker
from tests.support.waiting import PATIENCE, soon, until


async def double(number: int) -> int:
    return 2 * number


async def test_limits_are_changed_before_it_serves() -> None:
    broker = MemoryBroker()
    server = RpcServer(transport=broker.transport())
    server.add_service(double, fetch_size=8, queue_size=100)
    schema = await server.update_service("double", fetch_size=2, idempotent=True)
    assert server.services == (schema,)
    assert (schema.fetch_size, schema.queue_size, schema.idempotent) == (2, 100, True)
    async with server.serving():
        assert server.services == (schema,)


async def test_validation_can_be_switched_on_and_off() -> None:
    broker = MemoryBroker()
    server = RpcServer(transport=broker.transport())
    server.add_service(double)
    async with server.serving(), RpcClient(transport=broker.transport()) as client:
        assert await client.remote_call("double", ("2",), timeout=PATIENCE) == "22"
        await server.update_service("double", validate=True)
        assert await client.remote_call("double", ("2",), timeout=PATIENCE) == 4
        with pytest.raises(InvalidArgumentsError):
            await client.remote_call("double", ("two",), timeout=PATIENCE)
        await server.update_service("double", validate=False)
        assert await client.remote_call("double", ("2",), timeout=PATIENCE) == "22"


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"fetch_size": 0}, "fetch_size is 0"),
        ({"fetch_ahead": -1}, "fetch_ahead is -1"),
        ({"redelivery_limit": "5"}, "redelivery_limit is '5'"),
        ({"validate": 1}, "validate is 1"),
        ({"rate": "5/week"}, "rate is '5/week'"),
    ],
)
async def test_a_wrong_limit_changes_nothing(limits: dict[str, Any], why: str) -> None:
    broker = MemoryBroker()
    server = RpcServer(transport=broker.transport())
    server.add_service(double)
    async with server.serving():
        before = server.services
        with pytest.raises(RegistrationError, match=why):
            await server.update_service("double", **limits)
        assert server.services == before
        assert server.health()


async def test_annotations_that_cannot_be_validated_change_nothing() -> None:
    async def odd(number: Missing) -> None:  # type: ignore[name-defined] # pyright: ignore # noqa: F821
        pass

    server = RpcServer(transport=MemoryBroker().transport())
    server.add_service(odd)
    with pytest.raises(RegistrationError, match="Missing"):
        await server.update_service("odd", validate=True)
    assert not server.services[0].validate


async def test_unknown_services_and_ways_to_delete_are_refused() -> None:
    server = RpcServer(transport=MemoryBroker().transport())
    server.add_service(double)
    with pytest.raises(ConfigurationError, match=r"no service 'triple'; it has double"):
        await server.update_service("triple", fetch_size=1)
    with pytest.raises(ConfigurationError, match=r"delete is 'always'; it must be 'if-unused'"):
        await server.remove_service("double", delete="always")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert len(server.services) == 1


async def test_calls_go_on_while_limits_change_again_and_again() -> None:
    broker = MemoryBroker()
    server = RpcServer(transport=broker.transport())
    running = most = 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return number

    server.add_service(work, fetch_size=4)
    async with server.serving(), RpcClient(transport=broker.transport()) as client:
        calls = [asyncio.create_task(client.remote_call("work", (number,), timeout=PATIENCE)) for number in range(600)]
        await until(lambda: running == 4)
        for round_number in range(20):
            await server.update_service("work", fetch_size=1 + round_number % 4)
            await asyncio.sleep(0.002)
        assert await soon(asyncio.gather(*calls)) == list(range(600))
    assert most == 4


async def test_the_rate_can_be_changed_while_calls_wait_for_their_turn() -> None:
    broker = MemoryBroker()
    server = RpcServer(transport=broker.transport())
    server.add_service(double, rate="1/d", fetch_size=4)
    async with server.serving(), RpcClient(transport=broker.transport()) as client:
        assert await client.call(double, 1) == 2
        waiting = [asyncio.create_task(client.options(timeout=math.inf).call(double, number)) for number in range(2)]

        async def numbers() -> tuple[float | None, float | None, int, int]:
            (found,) = await client.services("double", timeout=PATIENCE)
            return found.rate_limit, found.rate_share, found.rate_waiting, found.rate_refused

        async def told(*expected: float) -> None:
            async with asyncio.timeout(PATIENCE):  # an answer may be some milliseconds old
                while await numbers() != expected:  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.01)

        await told(1 / 86400, 1 / 86400, 2, 0)
        schema = await server.update_service("double", rate="2000/s")
        assert schema.rate == 2000
        assert await soon(asyncio.gather(*waiting)) == [0, 2]
        await server.update_service("double", fetch_size=2)
        await told(2000, 2000, 0, 0)


async def test_a_service_gets_a_rate_while_it_runs() -> None:
    broker = MemoryBroker()
    server = RpcServer(transport=broker.transport())
    server.add_service(double)
    async with server.serving(), RpcClient(transport=broker.transport()) as client:
        assert [await client.call(double, number) for number in range(3)] == [0, 2, 4]
        await server.update_service("double", rate="1/d")
        assert await client.call(double, 1) == 2
        with pytest.raises(QueueFullError, match="calls/s"):
            await client.options(timeout=PATIENCE).call(double, 1)


async def test_the_rates_of_two_workers_are_told_together() -> None:
    broker = MemoryBroker()
    first, second = (RpcServer(transport=broker.transport()) for _ in range(2))
    for server in (first, second):
        server.add_service(double, rate=300)
    async with first.serving(), second.serving(), RpcClient(transport=broker.transport()) as client:
        async with asyncio.timeout(PATIENCE):
            while (found := (await client.services("double"))[0]).rate_share != 300:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
        assert found.rate_limit == 300
        assert found.to_json()["rate_share"] == 300
