"""Calls that cannot end in the time that they have left: they are refused, and their function does not run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallTimeoutError, DeadlineTooShortError, RMQClient, RMQServer
from rabibridge_core._protocol.remote_errors import REQUEST_REJECTED, decode_error
from rabibridge_core._server.run_times import MIN_RUNS
from rabibridge_core.errors import RegistrationError, RemoteExecutionError
from tests.support.waiting import soon

if TYPE_CHECKING:
    from rabibridge_core._server.statistics import ServiceStatistics
    from rabibridge_testing import FakeBroker

pytestmark = [pytest.mark.usefixtures("clean_place"), pytest.mark.fake_broker(auto_advance=True)]


class Slow:
    """A function that takes as long as it is told, and counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    async def slow(self, seconds: float) -> float:
        self.runs += 1
        await asyncio.sleep(seconds)
        return seconds


async def _warm(client: RMQClient, seconds: float = 1.0) -> None:
    await _wasted(client)
    await asyncio.gather(*(client.call("slow", seconds) for _ in range(MIN_RUNS)))


async def _wasted(client: RMQClient) -> None:
    """Let a call be cancelled at its deadline: from then on runs are measured."""
    with pytest.raises(CallTimeoutError) as late:
        await client.options(timeout=0.5).call("slow", 1.0)
    assert type(late.value) is CallTimeoutError


async def _probed(client: RMQClient) -> None:
    """Use up the first call that would be refused, which runs."""
    with pytest.raises(CallTimeoutError) as late:
        await client.options(timeout=0.5).call("slow", 1.0)
    assert type(late.value) is CallTimeoutError


def _statistics(server: RMQServer) -> ServiceStatistics:
    return server._server.services.statistics_of("slow")


@pytest.mark.usefixtures("fake_broker")
async def test_a_call_that_cannot_end_is_refused_at_once_and_does_not_run() -> None:
    slow, server = Slow(), RMQServer()
    server.add_service(slow.slow)
    async with server.serving(), RMQClient() as client:
        await _warm(client)
        await _probed(client)
        runs, began = slow.runs, asyncio.get_running_loop().time()
        with pytest.raises(DeadlineTooShortError, match=r"0.5 s left.*took less than 1 s") as refused:
            await client.options(timeout=0.5).call("slow", 1.0)
        assert asyncio.get_running_loop().time() - began < 0.1
        assert refused.value.executed is False
        assert isinstance(refused.value, CallTimeoutError)
        assert (refused.value.func_name, refused.value.timeout) == ("slow", 0.5)
        assert slow.runs == runs
        assert await client.options(timeout=1.5).call("slow", 1.0) == 1.0
        counts = _statistics(server).counts()
        assert (counts.refused, counts.refused_late, counts.expired) == (1, 1, 2)
        assert counts.calls == MIN_RUNS + 4
        assert _statistics(server).failures[0].type == "rabibridge_core.errors.DeadlineTooShortError"


@pytest.mark.parametrize("how", ["service", "setting", "service over setting"])
@pytest.mark.usefixtures("fake_broker")
async def test_it_can_be_switched_off(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "setting" in how:
        monkeypatch.setenv("RABIBRIDGE_DEADLINE_ADMISSION", "false" if how == "setting" else "true")
    slow, server = Slow(), RMQServer()
    server.add_service(slow.slow, deadline_admission=None if how == "setting" else False)
    async with server.serving(), RMQClient() as client:
        await _warm(client)
        for _ in range(3):
            await _probed(client)
        assert slow.runs == MIN_RUNS + 4


async def test_a_cold_service_refuses_nothing(fake_broker: FakeBroker) -> None:
    slow = Slow()
    fake_broker.add_service(slow.slow)
    async with RMQClient() as client:
        for _ in range(3):
            await _probed(client)
        await asyncio.gather(*(client.call("slow", 1.0) for _ in range(MIN_RUNS - 4)))
        await _probed(client)
        assert slow.runs == MIN_RUNS


async def test_calls_that_fail_at_once_say_nothing_of_how_long_runs_take(fake_broker: FakeBroker) -> None:
    async def slow(seconds: float) -> float:
        if not seconds:
            raise ValueError("at once")
        await asyncio.sleep(seconds)
        return seconds

    fake_broker.add_service(slow)
    async with RMQClient() as client:
        await _warm(client)
        for _ in range(3):
            with pytest.raises(RemoteExecutionError, match="at once"):
                await client.call("slow", 0)
        await _probed(client)
        with pytest.raises(DeadlineTooShortError):
            await client.options(timeout=0.5).call("slow", 1.0)


async def test_a_short_run_opens_the_service_again(fake_broker: FakeBroker) -> None:
    slow = Slow()
    fake_broker.add_service(slow.slow)
    async with RMQClient() as client:
        await _warm(client)
        assert await client.options(timeout=0.5).call("slow", 0.01) == 0.01  # the probe
        for _ in range(5):
            assert await client.options(timeout=0.5).call("slow", 0.01) == 0.01
        await _probed(client)  # it runs, as it might be a short one


async def test_a_notification_is_not_refused(fake_broker: FakeBroker) -> None:
    slow = Slow()
    fake_broker.add_service(slow.slow)
    async with RMQClient() as client:
        await _warm(client)
        await _probed(client)
        await client.options(timeout=0.5).notify("slow", 1.0)
        await asyncio.sleep(1)
        assert slow.runs == MIN_RUNS + 3


async def test_another_call_with_the_same_key_does_not_get_the_refusal(fake_broker: FakeBroker) -> None:
    slow = Slow()
    fake_broker.add_service(slow.slow, idempotent=True)
    async with RMQClient() as client:
        await _warm(client)
        await _probed(client)
        with pytest.raises(DeadlineTooShortError) as refused:
            await client.options(timeout=0.5, idempotency_key="one").call("slow", 1.0)
        assert refused.value.executed is False
        assert await client.options(idempotency_key="one").call("slow", 1.0) == 1.0
        assert await client.options(timeout=0.5, idempotency_key="one").call("slow", 1.0) == 1.0, "it was answered"


@pytest.mark.usefixtures("fake_broker")
async def test_a_new_function_is_a_cold_service() -> None:
    first, second = Slow(), Slow()
    server = RMQServer()
    server.add_service(first.slow)
    async with server.serving(), RMQClient() as client:
        await _warm(client)
        await _probed(client)
        await server.remove_service("slow")
        server.add_service(second.slow)
        await server.wait_serving("slow")
        assert await client.options(timeout=0.5).call("slow", 0.1) == 0.1
        await _probed(client)


def test_a_peer_that_does_not_know_the_refusal_reads_that_the_call_did_not_run() -> None:
    headers: dict[str, Any] = {"rb-error": REQUEST_REJECTED, "rb-error-type": "x.Y", "rb-error-message": "no"}
    error = decode_error("x.Y: no", headers, "f", "1")
    assert type(error) is RemoteExecutionError
    assert error.executed is False
    unknown = decode_error("x.Y: no", {**headers, "rb-refusal": "of a later version"}, "f", "1")
    assert (type(unknown), unknown.executed) == (RemoteExecutionError, False)


def test_what_the_option_may_be() -> None:
    with pytest.raises(RegistrationError, match="deadline_admission"):
        RMQServer(url="amqp://a:b@localhost").add_service(Slow().slow, deadline_admission="yes")  # type: ignore[call-overload]


async def test_a_thread_is_measured_as_well(fake_broker: FakeBroker) -> None:
    runs = 0

    def slow(seconds: float) -> float:
        nonlocal runs
        runs += 1
        return seconds

    fake_broker.add_service(slow, deadline_admission=True)
    async with RMQClient() as client:
        await soon(asyncio.gather(*(client.call("slow", 1.0) for _ in range(MIN_RUNS))))
        assert runs == MIN_RUNS
