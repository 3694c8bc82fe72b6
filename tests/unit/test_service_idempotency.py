"""Idempotency keys: concurrent calls share one execution, later ones get the stored reply, and storage is bounded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._codec.codec import Codec
from rabibridge_core._protocol.remote_errors import INVALID_ARGUMENTS, REQUEST_REJECTED
from rabibridge_core._server.deduplication import MAX_STORED_BYTES, MAX_STORED_REPLIES
from rabibridge_core.errors import ConnectionLostError
from tests.unit.scripted_requests import (
    PATIENCE,
    Clock,
    ScriptedRequest,
    ThreadWork,
    Work,
    keyed,
    make_service,
    outlasting,
    turns,
    until,
)

if TYPE_CHECKING:
    from rabibridge_core._server.service import ServiceRunner


async def _done(service: ServiceRunner, *requests: ScriptedRequest) -> None:
    for request in requests:
        service.received(request)
    await until(lambda: not service.active_requests)


async def _started(service: ServiceRunner, work: Work | ThreadWork, *requests: ScriptedRequest) -> None:
    for request in requests:
        service.received(request)
        await until(lambda: work.started)
    await turns()


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.mark.parametrize("in_a_thread", [False, True])
async def test_requests_with_the_key_of_a_running_one_share_its_execution(in_a_thread: bool) -> None:
    work = ThreadWork() if in_a_thread else Work()
    service = make_service(work.work)
    first, second, silent = keyed(), keyed(caller=b"the same, reconnected"), keyed(cid=b"3", wants_reply=False)
    await _started(service, work, first, second, silent)
    assert service.active_requests == 3
    work.release.set()
    await until(lambda: not service.active_requests)
    assert work.started == [None]
    assert first.answer == second.answer == [0, "done None"]
    assert silent.events == ["discarded"]
    await service.stop(0)


async def test_a_reply_is_sent_again_for_a_minute() -> None:
    clock, runs = Clock(), 0

    async def count() -> int:
        nonlocal runs
        runs += 1
        if runs == 2:
            raise ValueError("the second time")
        return runs

    service = make_service(count, clock=clock)
    requests = [keyed(cid=b"%d" % number) for number in range(4)]
    await _done(service, requests[0])
    clock.now += 59.9
    await _done(service, requests[1])
    assert (runs, requests[1].answer) == (1, [0, 1])
    clock.now += 0.2
    await _done(service, requests[2])
    await _done(service, requests[3])
    assert runs == 2  # an error reply is stored, too
    assert requests[2].error == requests[3].error
    assert requests[3].error["rb-error-message"] == "the second time"


async def test_a_request_without_a_key_runs() -> None:
    work = Work()
    work.release.set()
    service = make_service(work.work, idempotent=True)
    await _done(service, ScriptedRequest(), ScriptedRequest())
    assert len(work.started) == 2


@pytest.mark.parametrize("running", [True, False])
async def test_a_key_with_other_arguments(work: Work, running: bool) -> None:
    service = make_service(work.work)
    first, other = keyed((1,)), keyed((2,), cid=b"2")
    if not running:
        work.release.set()
    await _started(service, work, first)
    service.received(other)
    await until(lambda: other.events)
    assert other.error["rb-error"] == INVALID_ARGUMENTS
    assert "'key'" in other.error["rb-error-message"]
    work.release.set()
    await until(lambda: not service.active_requests)
    assert (work.started, first.answer) == ([1], [0, "done 1"])


@pytest.mark.parametrize("key", ["", "k" * 201, 5, b"key"])
async def test_an_invalid_key(work: Work, key: Any) -> None:
    request = keyed(key=key)
    await _done(make_service(work.work), request)
    assert request.error["rb-error"] == REQUEST_REJECTED
    assert "rb-key" in request.error["rb-error-message"]
    assert work.started == []


@pytest.mark.parametrize("stop", ["the first", "the second"])
async def test_cancelling_one_of_two(work: Work, stop: str) -> None:
    service = make_service(work.work)
    first, second = keyed(), keyed(caller=b"other")
    await _started(service, work, first, second)
    stopped, other = (first, second) if stop == "the first" else (second, first)
    service.cancelled(stopped.caller, stopped.correlation_id)
    await until(lambda: stopped.events)
    work.release.set()
    await until(lambda: not service.active_requests)
    assert (stopped.events, other.answer) == (["discarded"], [0, "done None"])
    assert (work.started, work.cancelled) == ([None], [])  # it continued for the other


@pytest.mark.parametrize("in_a_thread", [False, True])
async def test_cancelling_both_stops_the_handler(in_a_thread: bool) -> None:
    work = ThreadWork() if in_a_thread else Work()
    service = make_service(work.work)
    first, second = keyed(), keyed(caller=b"other")
    await _started(service, work, first, second)
    service.cancelled(first.caller, first.correlation_id)
    await until(lambda: first.events)
    service.cancelled(second.caller, second.correlation_id)
    await until(lambda: second.events)
    if isinstance(work, ThreadWork):
        work.release.set()
    await until(lambda: not service.active_requests)
    assert (first.events, second.events) == (["discarded"], ["discarded"])
    again = keyed(cid=b"again")
    work.release.set()
    await _done(service, again)
    assert again.answer == [0, "done None"]
    assert len(work.started) == 2  # a stopped execution leaves no reply
    await service.stop(0)


async def test_a_lost_channel_stops_only_its_own_request(work: Work) -> None:
    service = make_service(work.work)
    first, second = keyed(), keyed(cid=b"2")
    await _started(service, work, first, second)
    first.void = True
    service.lost(ConnectionLostError("gone"))
    await turns()
    again = keyed()  # the broker redelivers the first, which was not settled
    service.received(again)
    await turns()
    work.release.set()
    await until(lambda: not service.active_requests)
    assert (first.events, second.answer, again.answer) == ([], [0, "done None"], [0, "done None"])
    assert work.started == [None]


async def test_a_follower_of_a_stopped_execution_runs_the_handler_itself() -> None:
    work = ThreadWork()
    service = make_service(work.work)
    first, second, third = keyed(), keyed(cid=b"2"), keyed(cid=b"3")
    await _started(service, work, first)
    first.void = True
    service.lost(ConnectionLostError("gone"))  # its thread continues, and may have seen that it was cancelled
    await _started(service, work, second, third)
    assert len(work.started) == 1
    work.release.set()
    await until(lambda: not service.active_requests)
    assert (first.events, second.answer, third.answer) == ([], [0, "done None"], [0, "done None"])
    assert len(work.started) == 2
    await service.stop(0)


async def test_a_shared_execution_has_the_latest_deadline(work: Work) -> None:
    service = make_service(work.work)
    first, second = keyed(time_left=0.05), keyed(cid=b"2", time_left=PATIENCE)
    await _started(service, work, first, second)
    await until(lambda: first.events)
    assert first.events == ["discarded"]
    assert work.cancelled == []
    work.release.set()
    await until(lambda: not service.active_requests)
    assert second.answer == [0, "done None"]


async def test_an_expired_execution_leaves_no_reply(work: Work) -> None:
    service = make_service(work.work)
    await outlasting(service, lambda: work.started, 0.02, headers={"rb-key": "key"})
    await _done(service)
    assert work.cancelled == [None]
    work.release.set()
    await _done(service, again := keyed())
    assert again.answer == [0, "done None"]


async def test_draining_requeues_all_of_them(work: Work) -> None:
    service = make_service(work.work)
    requests = [keyed(cid=b"%d" % number) for number in range(3)]
    await _started(service, work, *requests)
    await asyncio.wait_for(service.stop(0), PATIENCE)
    assert [request.events for request in requests] == [["requeued"]] * 3
    assert (work.cancelled, service.active_requests) == ([None], 0)


async def test_a_signed_reply_is_signed_again_for_each_call() -> None:
    codec = Codec(serializer="pickle", signing_key=b"0123456789abcdef")
    runs: list[int] = []

    async def count(number: int) -> int:
        runs.append(number)
        return number

    service = make_service(count, codec=codec)
    requests = [keyed((7,), cid=b"%d" % number, codec=codec) for number in range(2)]
    await _done(service, requests[0])
    await _done(service, requests[1])
    assert [request.answer for request in requests] == [[0, 7], [0, 7]]
    other = keyed((8,), cid=b"8", codec=codec)
    await _done(service, other)
    assert (other.replies[0].headers or {})["rb-error"] == INVALID_ARGUMENTS
    assert runs == [7]


async def test_a_key_does_not_bypass_the_signature() -> None:
    codec = Codec(serializer="pickle", signing_key=b"0123456789abcdef")
    forger = Codec(serializer="pickle", signing_key=b"another one, and as long")

    async def secret() -> str:
        return "secret"

    service = make_service(secret, codec=codec)
    forged = keyed(cid=b"2", codec=forger)
    await _done(service, keyed(codec=codec))
    await _done(service, forged)
    assert (forged.replies[0].headers or {})["rb-error"] == REQUEST_REJECTED
    assert b"secret" not in forged.replies[0].body


@pytest.mark.parametrize(
    ("size", "kept"), [(10, MAX_STORED_REPLIES), (MAX_STORED_BYTES // 16, 15), (MAX_STORED_BYTES + 1, 0)]
)
async def test_stored_replies_are_bounded(size: int, kept: int) -> None:
    runs: list[int] = []
    codec = Codec(max_body=2 * MAX_STORED_BYTES, compress_threshold=None)

    async def big(number: int) -> bytes:
        runs.append(number)
        return bytes(size)

    service = make_service(big, codec=codec)
    number = kept + 5
    for index in range(number):
        await _done(service, keyed((index,), key=f"key {index}"))
    assert len(service._deduplication) == kept
    for index in (0, number - 1):
        await _done(service, keyed((index,), key=f"key {index}"))
    expected = [*range(number), 0] if kept else [*range(number), 0, number - 1]
    assert runs == expected  # the oldest reply was dropped, the latest was not


async def test_maintenance_drops_old_replies() -> None:
    clock, work = Clock(), Work()
    work.release.set()
    service = make_service(work.work, clock=clock)
    await _done(service, keyed())
    assert len(service._deduplication) == 1
    clock.now += 61
    service._maintain()
    assert len(service._deduplication) == 0
    await service.stop(0)


async def test_replies_of_an_idempotent_service_have_a_header() -> None:
    async def idempotent(fail: bool) -> int:
        if fail:
            raise ValueError("x")
        return 1

    for is_idempotent in (True, False):
        service = make_service(idempotent, idempotent=is_idempotent)
        requests = [ScriptedRequest((False,)), ScriptedRequest((True,)), ScriptedRequest(()), keyed((False,))]
        await _done(service, *requests)
        for request in requests:
            assert (request.replies[0].headers or {}).get("rb-idempotent", False) is is_idempotent
    assert requests[0].replies[0].headers is None
