"""What the span of a call says of its second copy."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import TYPE_CHECKING

import pytest
from opentelemetry.trace import SpanKind

from rabibridge import CallTimeoutError, Hedge
from rabibridge_core.rpc import RpcClient, RpcServer
from tests.support.telemetry import Collected, collected, traced_settings
from tests.support.waiting import PATIENCE, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from opentelemetry.sdk.trace import ReadableSpan

CLIENT, SERVER = SpanKind.CLIENT, SpanKind.SERVER
SENT = "rabibridge.hedge_sent"
ANSWER = "rabibridge.hedge.answer"


@pytest.fixture
def spans() -> Collected:
    found = collected()
    found.clear()
    return found


@asynccontextmanager
async def _two_workers(run: Callable[[int], Awaitable[None]]) -> AsyncIterator[RpcClient]:
    """Serve ``work``, which calls ``run`` with the number of the run, on two workers with one place each."""
    runs = 0

    async def work() -> int:
        nonlocal runs
        runs += 1
        mine = runs
        await run(mine)
        return mine

    settings = traced_settings(f"hedged-{token_hex(4)}")
    first, second = RpcServer(settings=settings), RpcServer(settings=settings)
    for server in (first, second):
        server.add_service(work, fetch_size=1, idempotent=True)
    async with first.serving(), second.serving(), RpcClient(settings=settings) as client:
        yield client


def _sent(span: ReadableSpan) -> list[float]:
    events = [event for event in span.events if event.name == SENT]
    assert all(event.attributes and event.attributes["messaging.message.conversation_id"] for event in events)
    return [float(str((event.attributes or {})["rabibridge.hedge.after"])) for event in events]


@pytest.mark.parametrize("winner", ["first", "second"])
async def test_it_says_after_how_long_a_second_copy_was_sent_and_which_was_answered(
    spans: Collected, winner: str
) -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def run(number: int) -> None:
        if number == 2:
            begun.set()
        await (begun if number == (1 if winner == "first" else 2) else never).wait()

    async with _two_workers(run) as client:
        hedged = client.options(idempotent=True, timeout=PATIENCE, hedge=Hedge(after=0.01))
        assert await soon(hedged.call("work")) == (1 if winner == "first" else 2)
        await until(lambda: len(spans.named("work", SERVER)) == 2)
    span = spans.one("work", CLIENT)
    assert _sent(span)[0] >= 0.01
    assert (span.attributes or {})[ANSWER] == winner
    assert span.context is not None
    parents = {each.parent.span_id for each in spans.named("work", SERVER) if each.parent is not None}
    assert parents == {span.context.span_id}


async def test_a_call_without_a_second_copy_says_nothing_of_one(spans: Collected) -> None:
    async def run(number: int) -> None: ...

    async with _two_workers(run) as client:
        await client.options(idempotent=True, hedge=Hedge(after=PATIENCE)).call("work")
    span = spans.one("work", CLIENT)
    assert _sent(span) == []
    assert ANSWER not in (span.attributes or {})


async def test_a_call_without_an_answer_has_no_winner(spans: Collected) -> None:
    never = asyncio.Event()

    async def run(number: int) -> None:
        await never.wait()

    async with _two_workers(run) as client:
        with pytest.raises(CallTimeoutError):
            await client.options(idempotent=True, timeout=0.3, hedge=Hedge(after=0.01)).call("work")
    span = spans.one("work", CLIENT)
    assert _sent(span)
    assert ANSWER not in (span.attributes or {})
