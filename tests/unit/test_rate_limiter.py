"""Calls that wait for their turn by the rate of their service, on a worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import QueueFullError, RetryRefused, RMQClient
from rabibridge_core._clock import monotonic
from rabibridge_core._protocol.headers import ERROR_KIND, ERROR_MESSAGE, REFUSAL, RETRY_AFTER
from rabibridge_core._protocol.remote_errors import FULL, REQUEST_REJECTED, decode_error
from rabibridge_core._server.active_request import ActiveRequest
from rabibridge_core._server.exceptions import NotStartedError
from rabibridge_core._server.rate_limiter import RateLimiter, rate_limiter_of
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import ConfigurationError, RemoteExecutionError
from rabibridge_core.transport import Reply
from tests.support.waiting import PATIENCE, soon
from tests.unit import process_functions
from tests.unit.client_support import CODEC, begin, make_client, sent
from tests.unit.scripted_requests import ScriptedRequest
from tests.unit.scripted_transport import ScriptedTransport

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker

HOUR = 3600.0


def request(time_left: float | None = None, *, redelivered: bool = False) -> ActiveRequest:
    scripted: Any = ScriptedRequest(redelivered=redelivered)
    active = ActiveRequest("work", scripted)
    active.ends_at = None if time_left is None else monotonic() + time_left
    return active


async def waiting(limiter: RateLimiter, *requests: ActiveRequest) -> list[asyncio.Task[None]]:
    tasks = []
    for active in requests:
        tasks.append(asyncio.create_task(limiter.admit(active)))
        await asyncio.sleep(0)
        assert active in limiter.waiting
    return tasks


async def test_calls_wait_until_the_number_of_workers_is_known() -> None:
    limiter = RateLimiter("work", 1000.0)
    tasks = await waiting(limiter, request(HOUR), request())
    limiter.observed(1)
    await soon(asyncio.gather(*tasks))
    assert not limiter.waiting


async def test_a_worker_that_joins_gives_back_once_what_cannot_wait_and_keeps_the_rest() -> None:
    limiter = RateLimiter("work", 1000.0)
    limiter.observed(2)
    hasty = request(0.2)
    with pytest.raises(NotStartedError):
        await limiter.admit(hasty)
    assert hasty.stop_reason == "requeued"
    with pytest.raises(QueueFullError, match="would have to wait 1 s"):
        await limiter.admit(request(0.2, redelivered=True))
    assert limiter.refused == 1
    await soon(asyncio.gather(*await waiting(limiter, request(HOUR))))


async def test_when_a_worker_joins_what_no_longer_fits_is_refused_and_the_rest_moves_up() -> None:
    limiter = RateLimiter("work", 1 / 60)
    limiter.observed(1)
    await limiter.admit(request())
    first, hasty, last = await waiting(limiter, request(), request(170.0), request())
    limiter.observed(2)  # twice as long for each
    with pytest.raises(QueueFullError):
        await soon(hasty)
    assert len(limiter.waiting) == 2
    limiter.share.resize(HOUR, monotonic())
    limiter.observed(2)
    await soon(asyncio.gather(first, last))


async def test_a_turn_that_came_too_late_for_its_call_goes_to_the_next() -> None:
    limiter = RateLimiter("work", 1 / HOUR)
    first, second = await waiting(limiter, request(), request())
    limiter.observed(1)  # its token is there; the timer of no delay gives it to the first
    while len(limiter.waiting) == 2:  # noqa: ASYNC110 - a few turns of the loop, which nothing announces
        await asyncio.sleep(0)
    first.cancel()
    await soon(second)
    assert first.cancelled()
    assert not limiter.waiting


async def test_a_transport_that_cannot_count_serves_no_such_service() -> None:
    async def work() -> None: ...

    schema = ServiceSchema.of(work, ServiceLimits(rate=1))
    transport: Any = ScriptedTransport()
    with pytest.raises(ConfigurationError, match="ScriptedTransport cannot count them: leave rate= out"):
        rate_limiter_of(schema, {}, transport)


def refusal(retry_after: float) -> Reply:
    body = CODEC.encode([1, "full"], b"")
    return Reply(
        *body, {ERROR_KIND: REQUEST_REJECTED, ERROR_MESSAGE: "no turn", REFUSAL: FULL, RETRY_AFTER: retry_after}
    )


async def test_a_client_sends_again_what_a_worker_has_refused_as_what_a_queue_has() -> None:
    transport = ScriptedTransport()
    transport.open.set()
    client = make_client(transport)
    await client.connect()
    again = begin(client, timeout=HOUR, retry=RetryRefused(attempts=2, base=0.001, cap=0.001))
    (first,) = await sent(transport)
    client.calls.replied(first, refusal(0.0))
    assert (await sent(transport, 2))[-1] == first
    client.calls.replied(first, refusal(0.0))
    with pytest.raises(QueueFullError, match="refused 2 times: no turn; not sent again after attempts=2") as full:
        await soon(again)
    assert (full.value.retry_after, full.value.attempts, full.value.executed) == (0.0, 2, False)
    once = begin(client, timeout=HOUR)
    client.calls.replied((await sent(transport, 3))[-1], refusal(1.5))
    with pytest.raises(QueueFullError, match="call of 'work' refused: no turn") as full:
        await soon(once)
    assert full.value.retry_after == 1.5
    await client.close()


def test_a_client_of_a_version_before_reads_that_it_did_not_run() -> None:
    headers = {
        name: value for name, value in (refusal(1.0).headers or {}).items() if name not in (REFUSAL, RETRY_AFTER)
    }
    error = decode_error("full", headers, "work", "1")
    assert type(error) is RemoteExecutionError
    assert error.executed is False


@pytest.mark.parametrize("value", ["1", b"1", float("nan"), -1.0])
def test_what_a_hostile_worker_says_of_the_time_does_no_harm(value: Any) -> None:
    error = decode_error("full", {ERROR_KIND: REQUEST_REJECTED, REFUSAL: FULL, RETRY_AFTER: value}, "work", "1")
    assert error.executed is False
    assert not isinstance(error, QueueFullError) or error.retry_after is None


async def test_the_fake_broker_keeps_to_a_rate_and_a_broadcast_counts(fake_broker: FakeBroker) -> None:
    ran = []

    async def work(number: int) -> None:
        ran.append(number)

    fake_broker.add_service(work, rate="1/d")
    async with RMQClient() as client:
        (answer,) = [one async for one in client.options(timeout=30).broadcast("work", 1)]
        assert answer.error is None
        with pytest.raises(QueueFullError):
            await client.remote_call("work", (2,), timeout=30)
    assert ran == [1]


async def test_functions_in_child_processes_are_limited_as_well(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(process_functions.square, executor="process", fetch_size=1, rate="1/d")
    async with RMQClient() as client:
        assert await client.remote_call("square", (3,), ftype="sync", timeout=PATIENCE) == 9
        with pytest.raises(QueueFullError):
            await client.remote_call("square", (3,), ftype="sync", timeout=PATIENCE)
