"""Measures what the in-memory broker costs a test suite."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.contenders.base import echo
from rabibridge import RMQClient, RMQServer
from rabibridge_core.plugins.resolver import override_transport
from rabibridge_testing import FakeBroker

if TYPE_CHECKING:
    from collections.abc import Callable

_CALLS = 100
_TESTS = 50


@pytest.mark.benchmark(group=f"fake broker, {_CALLS} calls")
@pytest.mark.parametrize("in_flight", [1, _CALLS])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_calls(
    fake_broker: FakeBroker, runner: asyncio.Runner, measure_calls: Callable[..., None], in_flight: int
) -> None:
    fake_broker.add_service(echo, queue_size=1000)
    client = RMQClient()
    runner.run(client.connect())
    measure_calls(lambda x: client.remote_call("echo", (x,), timeout=10), _CALLS, in_flight)
    runner.run(client.close())


@pytest.mark.benchmark(group=f"fake broker, {_TESTS} tests of one call, each with a broker and event loop of its own")
@pytest.mark.parametrize("serve", ["by the fixture", "by a server"])
def test_whole_tests(benchmark: Any, serve: str) -> None:
    async def call_the_fixture() -> None:
        async with RMQClient() as client:
            assert await client.remote_call("echo", (1,), timeout=10) == 1

    async def call_a_server() -> None:
        server = RMQServer()
        server.add_service(echo)
        async with server, RMQClient() as client:
            serving = asyncio.create_task(server.run_serve())
            assert await client.remote_call("echo", (1,), timeout=10) == 1
            server.stop()
            await serving

    def tests() -> None:
        for _ in range(_TESTS):
            broker = FakeBroker()  # what the fixture does
            with override_transport(broker.transport_for):
                if serve == "by the fixture":
                    broker.add_service(echo)
                    asyncio.run(call_the_fixture())
                else:
                    asyncio.run(call_a_server())
            broker.shut_down()

    benchmark.extra_info["tests_in_a_round"] = _TESTS
    benchmark.pedantic(tests, rounds=10, warmup_rounds=1)
