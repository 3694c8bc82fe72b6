"""Five times the capacity, by callers that wait for different times: in virtual time, so that the figures are exact."""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

import pytest

from rabibridge import CallTimeoutError, DeadlineTooShortError, QueueFullError, RMQClient, RMQServer

pytestmark = [pytest.mark.usefixtures("clean_place"), pytest.mark.fake_broker(auto_advance=True)]

_PLACES, _RUN_TIME, _SECONDS, _LOAD = 8, 0.016, 3.0, 5
_CAPACITY = _PLACES / _RUN_TIME


class _Figures(NamedTuple):
    good: int
    runs: int
    wasted: int
    refused: int


async def _figures(*, admission: bool) -> _Figures:
    started, good, refused = set[int](), set[int](), set[int]()
    loop, chance = asyncio.get_running_loop(), random.Random(19)

    async def work(number: int) -> int:
        started.add(number)
        await asyncio.sleep(_RUN_TIME)
        return number

    async def call(client: RMQClient, number: int) -> None:
        try:
            await client.options(timeout=0.05 * 10 ** chance.random()).call("work", number)
        except DeadlineTooShortError:
            refused.add(number)
        except (QueueFullError, CallTimeoutError):
            pass
        else:
            good.add(number)

    server = RMQServer()
    server.add_service(work, queue_size=100, fetch_size=_PLACES, fetch_ahead=2, deadline_admission=admission)
    async with server.serving(), RMQClient() as client:
        began, calls = loop.time(), list[asyncio.Task[None]]()
        while loop.time() - began < _SECONDS:
            await asyncio.sleep(chance.expovariate(_LOAD * _CAPACITY))
            calls.append(asyncio.create_task(call(client, len(calls))))
        await asyncio.gather(*calls)
    assert not started & refused
    return _Figures(len(good), len(started), len(started - good), len(refused))


@pytest.mark.usefixtures("fake_broker")
async def test_runs_are_not_wasted_and_nothing_is_lost() -> None:
    found = await _figures(admission=True)
    assert found.wasted < 0.01 * found.runs
    assert found.good > 0.95 * _CAPACITY * _SECONDS
    before = await _figures(admission=False)
    assert before.wasted > 0.05 * before.runs
    assert found.good >= before.good
    assert (before.refused, found.refused > 0) == (0, True)
