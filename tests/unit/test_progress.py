"""Reports of progress, on both sides, without a broker or on the one in memory."""

from __future__ import annotations

import asyncio
import math
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallTimeoutError, ConfigurationError, Progress, RemoteExecutionError, RMQClient, current_call
from rabibridge.sync import Client
from rabibridge_core._client.progress import ProgressReceiver
from rabibridge_core._client.stream_run import PartsFuture
from rabibridge_core._observability.progress import ProgressSender
from rabibridge_core._protocol.progress import encode_progress, read_progress
from rabibridge_core.errors import ContentRejectedError
from rabibridge_core.transport import Reply
from tests.support.waiting import PATIENCE
from tests.unit.scripted_requests import ScriptedRequest, turns, until

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Progress(None, "")),
        ({"rb-progress": 0.5, "rb-progress-text": "half"}, Progress(0.5, "half")),
        ({"rb-progress": 1, "rb-progress-text": 7}, Progress(1.0, "")),
        ({"rb-progress": True}, Progress(None, "")),
        ({"rb-progress": "0.5"}, Progress(None, "")),
        ({"rb-progress": -1.0}, Progress(None, "")),
        ({"rb-progress": math.nan}, Progress(None, "")),
        ({"rb-progress": math.inf}, Progress(None, "")),
    ],
)
def test_what_is_malformed_counts_as_missing(headers: dict[str, Any], expected: Progress) -> None:
    assert read_progress(headers) == expected


def test_a_text_is_cut_and_can_be_sent() -> None:
    report = encode_progress(0.5, "x\ud800" + "y" * 5000)
    text = read_progress(report.headers or {}).text
    assert text.startswith("x\\ud800y")
    assert len(text) < 1100


class _Slow(ScriptedRequest):
    """A request whose transport takes its time with parts."""

    def __init__(self) -> None:
        super().__init__(headers={"rb-wants-progress": True})
        self.ways: list[asyncio.Future[None]] = []

    def reply_part(self, reply: Reply, /) -> asyncio.Future[None] | None:
        super().reply_part(reply)
        self.ways.append(asyncio.get_running_loop().create_future())
        return self.ways[-1]


async def test_a_report_waits_for_the_way_of_the_one_before() -> None:
    request = _Slow()
    sender = ProgressSender(request, asyncio.get_running_loop())
    sender.report(0.1, "")
    await until(lambda: request.parts)
    sender.report(0.2, "")
    sender.report(0.3, "")
    await asyncio.sleep(0.1)
    assert len(request.parts) == 1
    request.ways[0].set_result(None)
    await until(lambda: len(request.parts) == 2)
    assert read_progress(request.parts[1].headers or {}).fraction == 0.3
    request.ways[1].set_exception(ContentRejectedError("too large"))
    await turns()
    assert sender.over


async def test_nobody_is_told_who_does_not_ask() -> None:
    assert ProgressSender(ScriptedRequest(), asyncio.get_running_loop()).over


async def test_a_thread_that_has_outlived_its_worker_reports_to_nobody() -> None:
    loop = asyncio.new_event_loop()
    sender = ProgressSender(_Slow(), loop)
    loop.close()
    sender.report(0.5, "")


async def test_the_future_of_a_call_takes_reports_and_one_reply() -> None:
    seen: list[Progress] = []
    future = PartsFuture(ProgressReceiver(seen.append, "work").received, asyncio.get_running_loop())
    future.set_result(encode_progress(0.5, ""))
    assert not future.done()
    await turns()
    future.set_result(encode_progress(0.6, ""))
    future.set_result(reply := Reply(b"end", None, None))
    assert await future is reply
    await turns()
    assert seen == [Progress(0.5, ""), Progress(0.6, "")]


async def test_nothing_is_passed_on_after_the_end() -> None:
    seen: list[Progress] = []
    receiver = ProgressReceiver(seen.append, "work")
    receiver.received(encode_progress(0.5, ""))
    receiver.close()
    receiver.received(encode_progress(0.6, ""))
    await turns()
    assert seen == []


@pytest.mark.parametrize("value", ["0.5", b"0.5", True, [0.5]])
async def test_a_fraction_is_a_number(fake_broker: FakeBroker, value: Any) -> None:
    problems: list[str] = []

    async def wrong_fraction() -> None:
        for given, error in ((value, TypeError), (math.nan, ValueError)):
            with pytest.raises(error) as raised:
                current_call().progress(given)
            problems.append(str(raised.value))
        with pytest.raises(TypeError):
            current_call().progress(0.5, 7)  # type: ignore[arg-type]

    fake_broker.add_service(wrong_fraction)
    async with RMQClient() as client:
        await client.call(wrong_fraction)
    assert all("from 0 to 1" in problem for problem in problems)
    assert len(problems) == 2


async def test_a_fraction_outside_is_brought_inside(fake_broker: FakeBroker) -> None:
    reports: list[Progress] = []

    async def outside() -> None:
        for fraction in (-1, Decimal("0.5"), 7.5):
            current_call().progress(fraction)  # type: ignore[arg-type]
            await asyncio.sleep(0.06)

    fake_broker.add_service(outside)
    async with RMQClient() as client:
        await client.options(on_progress=reports.append).call(outside)
    assert [report.fraction for report in reports] == [0.0, 0.5, 1.0]


@pytest.mark.usefixtures("fake_broker")
async def test_options_take_a_function() -> None:
    async with RMQClient() as client:
        with pytest.raises(ConfigurationError, match="on_progress"):
            client.options(on_progress="print")  # type: ignore[arg-type]


async def test_a_stub_and_its_context(fake_broker: FakeBroker) -> None:
    seen: list[object] = []

    async def reported() -> int:
        current_call().progress(0.5)
        await asyncio.sleep(0.02)
        return 1

    async def take(progress: Progress) -> None:
        seen.append((progress.fraction, threading.current_thread() is threading.main_thread()))

    fake_broker.add_service(reported)
    async with RMQClient() as client:
        stub = client.stub(reported, on_progress=take)
        assert await stub() == 1
        await until(lambda: seen)
    assert seen == [(0.5, True)]


async def work_with_steps(steps: int) -> str:
    for step in range(steps):
        current_call().progress(step / steps, f"step {step}")
        await asyncio.sleep(0.06)
    return "done"


async def fail_midway() -> None:
    current_call().progress(0.5)
    await asyncio.sleep(0.02)
    raise ValueError("midway")


def test_a_thread_that_waits_gets_the_reports_itself(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(work_with_steps)
    seen: list[tuple[str, int]] = []
    with Client() as client:

        def take(progress: Progress) -> None:
            seen.append((progress.text, threading.get_ident()))

        assert client.options(on_progress=take).call(work_with_steps, 3) == "done"
        assert client.options(on_progress=take).remote_call("work_with_steps", (1,)) == "done"
        assert client.stub(work_with_steps, on_progress=take)(1) == "done"
    assert {text for text, _ in seen} == {"step 0", "step 1", "step 2"}
    assert {thread for _, thread in seen} == {threading.get_ident()}


def test_a_call_from_the_function_that_gets_reports(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(work_with_steps)
    answers: list[str] = []
    with Client() as client:

        def take(_: Progress) -> None:
            answers.append(client.call(work_with_steps, 0))

        assert client.options(on_progress=take).call(work_with_steps, 2) == "done"
    assert "done" in answers


def test_what_the_function_raises_in_a_thread(fake_broker: FakeBroker, caplog: pytest.LogCaptureFixture) -> None:
    fake_broker.add_service(work_with_steps)
    fake_broker.add_service(fail_midway)
    with Client() as client:

        def fail(_: Progress) -> None:
            raise ZeroDivisionError("in the caller")

        assert client.options(on_progress=fail).call(work_with_steps, 2) == "done"
        assert "in the caller" in caplog.text
        with pytest.raises(RemoteExecutionError, match="midway"):
            client.options(on_progress=lambda _: None).call(fail_midway)

        def interrupt(_: Progress) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            client.options(on_progress=interrupt, timeout=PATIENCE).call(work_with_steps, 10_000)
        assert client.pending == 0


def test_a_timeout_in_a_thread(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(work_with_steps)
    with Client() as client, pytest.raises(CallTimeoutError):
        client.options(on_progress=lambda _: None, timeout=0.3).call(work_with_steps, 10_000)
