from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from tools.broker.fixtures import rabbitmq, vhost_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["rabbitmq", "vhost_url"]

_ROUNDS = 50


@pytest.fixture
def loop() -> str:
    """Whose event loop the benchmark runs on, where it does not say so by parameters."""
    return "uvloop"


@pytest.fixture
def runner(loop: str) -> Iterator[asyncio.Runner]:
    """An event loop that lives as long as the benchmark."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        yield runner


@pytest.fixture
def measure_calls(benchmark: Any, runner: asyncio.Runner) -> Callable[..., None]:
    """Measures rounds of many calls each: entering the event loop takes as long as a call, and would count."""

    def measure(call: Callable[[int], Any], calls: int, in_flight: int) -> None:
        async def one_round() -> None:
            numbers = iter(range(calls))

            async def keep_calling() -> None:
                for number in numbers:
                    assert await call(number) == number

            await asyncio.gather(*(keep_calling() for _ in range(in_flight)))

        benchmark.extra_info["calls_in_a_round"] = calls
        benchmark.pedantic(lambda: runner.run(one_round()), rounds=_ROUNDS, warmup_rounds=3)

    return measure
