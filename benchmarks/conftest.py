from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from tools.broker.fixtures import vhost_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["vhost_url"]

_ROUNDS = 50


@pytest.fixture
def loop() -> str:
    """The event loop of the benchmark, unless it is parametrized."""
    return "uvloop"


@pytest.fixture
def runner(loop: str) -> Iterator[asyncio.Runner]:
    """An event loop that runs as long as the benchmark."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        yield runner


@pytest.fixture
def measure_calls(benchmark: Any, runner: asyncio.Runner) -> Callable[..., None]:
    """Measure rounds of many calls: entering the event loop takes as long as a call and would distort single calls."""

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
