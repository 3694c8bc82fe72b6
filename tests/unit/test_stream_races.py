"""What meets in one turn of the event loop: credit and cancellations, ends of uploads and ends of functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator  # noqa: TC003 - annotations are resolved
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._observability.call_context import current_call
from rabibridge_core._protocol.progress import WANTS_PROGRESS
from tests.unit.client_support import reply as plain_reply
from tests.unit.client_support import turns as client_turns
from tests.unit.scripted_requests import turns, until
from tests.unit.stream_requests import EVENTS, StreamRequest, cancel, make_streaming
from tests.unit.stream_support import asked
from tests.unit.upload_support import WINDOW, begin, fed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from rabibridge_core._client.client import Client
    from tests.unit.scripted_transport import ScriptedTransport

_LARGE = b"x" * 70_000


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield _LARGE


def endless_in_thread() -> Iterator[bytes]:
    while True:
        yield _LARGE


@pytest.mark.parametrize("func", [endless, endless_in_thread])
@pytest.mark.parametrize("order", ["cancel first", "credit first"])
async def test_one_of_two_that_wait_for_credit_is_cancelled_when_it_comes(func: Any, order: str) -> None:
    service = make_streaming(func, fetch_size=2)
    first = StreamRequest(window="1,1")
    second = StreamRequest(window="1,1", correlation_id=b"2")
    for request in (first, second):
        service.received(request)
    await until(lambda: first.messages and second.messages)
    await turns(50)
    if order == "cancel first":
        await cancel(service, first)
    for request in (first, second):
        request.credit(service, 1)
    if order == "credit first":
        await cancel(service, first)
    for consumed in range(2, 6):
        await until(lambda consumed=consumed: len(second.messages) == consumed)  # type: ignore[misc]
        second.credit(service, consumed)
    await until(lambda: first.settled and service.active_requests == 1)
    assert first.events == EVENTS[cancel]
    assert len(first.messages) <= 2, "nothing is sent after the cancellation"
    await cancel(service, second)
    await until(lambda: not service.active_requests)


@pytest.mark.parametrize("ending", ["returns", "fails", "is cancelled"])
async def test_progress_errors_and_ends_need_no_credit(ending: str) -> None:
    go_on, ends = asyncio.Event(), asyncio.Event()

    async def func() -> AsyncIterator[bytes]:
        yield _LARGE
        await go_on.wait()
        current_call().progress(0.5, "half of it")
        await ends.wait()
        if ending == "fails":
            raise LookupError("not there")

    service, request = make_streaming(func), StreamRequest(window="1,1", headers={WANTS_PROGRESS: True})
    service.received(request)
    await until(lambda: request.messages)
    go_on.set()
    await until(lambda: "progress" in request.kinds)
    if ending == "is cancelled":
        await cancel(service, request)
    else:
        ends.set()
    await until(lambda: request.settled)
    assert request.kinds == ["items", "progress"]
    assert request.events == (["discarded"] if ending == "is cancelled" else ["replied"])
    if ending == "fails":
        assert request.end["rb-error-message"] == "not there"


def _end_of_upload(service: Any, request: StreamRequest) -> None:
    request.feed(service, {"rb-part": "end", "rb-index": 1})


@pytest.mark.parametrize("when", ["before", "in the same turn, first", "in the same turn, last", "after"])
async def test_an_upload_may_end_whenever_its_function_returns(when: str) -> None:
    returns = asyncio.Event()

    async def func(items: AsyncIterator[int]) -> int:
        first = await anext(items)
        await returns.wait()
        return first

    service = make_streaming(func)
    request = StreamRequest((None,), window=None, upload="0")
    service.received(request)
    await until(lambda: request.parts)
    request.upload(service, 0, 5)
    await turns()
    steps: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "first": (lambda: _end_of_upload(service, request), returns.set),
        "last": (returns.set, lambda: _end_of_upload(service, request)),
    }
    steps |= {"before": steps["first"], "after": steps["last"]}
    one, other = steps[when.rpartition(" ")[2]]
    one()
    if "turn" not in when:
        await turns()
    other()
    await until(lambda: request.settled)
    assert request.answer == [0, 5]
    assert (service.active_requests, len(service._processor.sessions or ())) == (0, 0)


@pytest.mark.parametrize("when", ["before", "in the same turn, first", "in the same turn, last", "after"])
async def test_an_iterator_may_end_whenever_the_result_comes(
    client: Client, transport: ScriptedTransport, when: str
) -> None:
    ends, closed = asyncio.Event(), asyncio.Event()

    async def source() -> AsyncGenerator[int]:
        try:
            yield 1
            await ends.wait()
        finally:
            closed.set()

    task = begin(client, source())
    worker = (await asked(client, transport)).open(**WINDOW)
    await client_turns(lambda: bool(fed(transport)))

    def answer() -> None:
        client.calls.replied(worker.request.correlation_id, plain_reply("done"))

    first = when.endswith(("before", "first"))
    (ends.set if first else answer)()
    if "turn" not in when:
        await client_turns()
    (answer if first else ends.set)()
    assert await task == "done"
    assert closed.is_set()
    assert transport.cancelled == []
    assert (("end", 1) in fed(transport)) == (when == "before") or "turn" in when


@pytest.mark.parametrize("thread", [False, True])
async def test_the_end_of_an_upload_is_not_the_end_of_its_call(thread: bool) -> None:
    ends = 0

    async def func(items: AsyncIterator[int]) -> AsyncIterator[int]:
        nonlocal ends
        async for item in items:
            yield item
        ends += 1
        for number in range(1000):
            yield number

    def sync(items: Iterator[int]) -> Iterator[int]:
        nonlocal ends
        yield from items
        ends += 1
        yield from range(1000)

    service = make_streaming(sync if thread else func)
    request = StreamRequest((None,), upload="0")
    service.received(request)
    await until(lambda: request.parts)
    request.upload(service, 0, 7)
    _end_of_upload(service, request)
    await until(lambda: request.settled)
    assert ends == 1
    assert request.items == [7, *range(1000)]
