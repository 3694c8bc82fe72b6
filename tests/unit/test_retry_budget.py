"""A retry budget that all services of a client share."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallTimeoutError, ConfigurationError, QueueFullError, RetryBudget, RetryRefused, RMQClient
from rabibridge_core._client.options import CallOptions
from rabibridge_core._client.retry import RetryBudgets
from rabibridge_core._client.retry_budget import WINDOW, SpentBudget
from tests.unit.client_support import make_client, sent
from tests.unit.scripted_transport import ScriptedTransport

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker

FIFTH = RetryBudget(ratio=0.2, per_second=0.0)
OFTEN = RetryRefused(attempts=100, base=0.001, cap=0.002, budget=FIFTH)


@pytest.mark.parametrize(
    "wrong",
    [{"ratio": -0.1}, {"ratio": 1.1}, {"ratio": "0.2"}, {"per_second": -1}, {"per_second": math.inf}],
    ids=repr,
)
def test_values_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"RetryBudget: {next(iter(wrong))} is"):
        RetryBudget(**wrong)


def test_a_policy_takes_nothing_else_for_a_budget() -> None:
    with pytest.raises(ConfigurationError, match=r"RetryRefused: budget is .* must be a RetryBudget"):
        RetryRefused(budget=0.2)  # type: ignore[arg-type]


def test_it_gives_a_share_of_the_calls_of_ten_seconds() -> None:
    spent = SpentBudget(FIFTH)
    for _ in range(100):
        spent.earn(0.5)
    assert sum(spent.spend(0.9) for _ in range(100)) == 20
    for _ in range(100):
        spent.earn(WINDOW)
    assert sum(spent.spend(WINDOW + 0.9) for _ in range(100)) == 20  # the first hundred, and their twenty, are over
    assert not spent.spend(3 * WINDOW)


def test_it_gives_some_for_clients_that_call_seldom() -> None:
    spent = SpentBudget(RetryBudget(ratio=0.0, per_second=0.5))
    assert sum(spent.spend(1.0) for _ in range(100)) == 5
    assert sum(spent.spend(1.0 + WINDOW) for _ in range(100)) == 5


def test_equal_budgets_of_other_policies_share_one() -> None:
    budgets = RetryBudgets()
    one, other = (RetryRefused(attempts=n, budget=RetryBudget(ratio=1.0, per_second=0.0)) for n in (2, 3))
    budgets.earn(one, "a", 0.0)
    assert budgets.spend(other, "b", 0.0)
    assert not budgets.spend(one, "a", 0.0)


async def test_a_thousand_failures_at_once_are_two_hundred_retries_whatever_service_they_call(
    fake_broker: FakeBroker,
) -> None:
    services = [f"work{number}" for number in range(10)]
    for service in services:
        fake_broker.refuse(service)

    async def caller(client: RMQClient, service: str) -> None:
        with pytest.raises(QueueFullError, match="not sent again, since the retry budget of the client is spent"):
            await client.remote_call(service, timeout=60)

    async with RMQClient(retry=OFTEN) as client:
        await asyncio.gather(*(caller(client, service) for service in services for _ in range(100)))
        assert client.pending == 0
    assert len(fake_broker.calls) == 1200


async def test_a_call_that_waits_to_be_sent_again_has_taken_its_retry() -> None:
    """Else all of them would be let through, and the budget found spent only when they are sent."""
    transport = ScriptedTransport()
    client = make_client(transport)
    await client.connect()
    slow = RetryRefused(attempts=2, base=1000.0, cap=1000.0, budget=FIFTH)
    calls = [
        asyncio.create_task(client.call("work", (), {}, CallOptions(retry=slow, timeout=10_000.0))) for _ in range(1000)
    ]
    for id_ in await sent(transport, 1000):
        client.calls.refused(id_, QueueFullError, "full")
    await asyncio.sleep(0.05)
    waiting = [call for call in calls if not call.done()]
    assert len(waiting) <= 200
    assert len(transport.sent) <= 1000 + 200  # a wait may be short, by chance
    await client.close()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, QueueFullError) for result in results) >= 800


async def test_a_map_takes_its_retries_from_it(fake_broker: FakeBroker) -> None:
    fake_broker.refuse("work")
    fake_broker.refuse("other")
    policy = RetryRefused(attempts=100, base=0.001, cap=0.002, budget=FIFTH)
    async with RMQClient(retry=policy) as client:
        calls = (client.remote_call("other", timeout=60) for _ in range(100))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, QueueFullError) for result in results)
        made = len(fake_broker.calls)
        assert made == 120
        view = client.options(timeout=1.0)
        failed = [each async for each in view.map("work", range(50), concurrency=50, return_exceptions=True)]
        assert all(isinstance(each, QueueFullError) for each in failed)
    assert len(fake_broker.calls) - made <= 50 + 10


async def test_no_retry_comes_after_the_time_of_its_call(fake_broker: FakeBroker) -> None:
    fake_broker.refuse("work")
    policy = RetryRefused(attempts=10_000, base=0.001, cap=0.01, budget=RetryBudget(ratio=1.0, per_second=1000.0))
    async with RMQClient(retry=policy) as client:
        with pytest.raises((QueueFullError, CallTimeoutError)):
            await client.remote_call("work", timeout=0.2)
        made = len(fake_broker.calls)
        await asyncio.sleep(0.1)
    assert len(fake_broker.calls) == made > 1
