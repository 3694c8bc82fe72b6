"""Idempotency keys belong to users: nobody gets, blocks or evicts the answers of another one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rabibridge_core._protocol.payloads import StoredReply
from rabibridge_core._server.deduplication import (
    MAX_STORED_BYTES,
    MAX_STORED_BYTES_OF_ALL,
    MAX_STORED_REPLIES,
    MAX_STORED_REPLIES_OF_ALL,
    DeduplicationCache,
)
from rabibridge_core.transport import Reply
from tests.unit.scripted_requests import Clock, keyed, make_service, until


def _store(cache: DeduplicationCache[Any], user: str, key: str, body: bytes = b"") -> None:
    execution = cache.begin(user, key, b"digest", object())
    execution.reply = StoredReply(Reply(body, None, None), b"1")
    cache.end(execution)


async def test_a_key_of_another_user_is_another_key() -> None:
    runs = []

    async def pay(amount: int) -> int:
        runs.append(amount)
        return len(runs)

    service = make_service(pay)
    requests = [
        keyed((1,), user="alice"),
        keyed((2,), user="bob"),
        keyed((3,)),
        keyed((1,), user="alice", caller=b"another connection"),
    ]
    for request in requests:
        service.received(request)
        await until(lambda: not service.active_requests)
    assert [request.answer for request in requests] == [[0, 1], [0, 2], [0, 3], [0, 1]]
    await service.stop(0)


async def test_a_user_waits_for_no_execution_of_another() -> None:
    gate, started = asyncio.Event(), []

    async def pay(who: str) -> None:
        started.append(who)
        await gate.wait()

    service = make_service(pay)
    for user in ("alice", "bob"):
        service.received(keyed((user,), user=user))
    await until(lambda: started == ["alice", "bob"])
    gate.set()
    await until(lambda: not service.active_requests)
    await service.stop(0)


@pytest.mark.parametrize(("count", "size"), [(3 * MAX_STORED_REPLIES, 1), (100, MAX_STORED_BYTES // 10)])
async def test_nobody_evicts_the_answers_of_another(count: int, size: int) -> None:
    cache = DeduplicationCache[Any](Clock())
    _store(cache, "alice", "payment", b"paid")
    for number in range(count):
        _store(cache, "bob", str(number), bytes(size))
    assert cache.find("alice", "payment", b"digest") is not None
    assert cache.find("bob", "0", b"digest") is None
    assert len(cache) <= MAX_STORED_REPLIES + 1


@pytest.mark.parametrize(("users", "count", "size"), [(40, MAX_STORED_REPLIES, 0), (30, 8, MAX_STORED_BYTES // 8)])
async def test_many_users_share_what_there_is(users: int, count: int, size: int) -> None:
    cache = DeduplicationCache[Any](Clock())
    _store(cache, "alice", "payment", b"paid")
    body = bytes(size)
    for user in range(users):
        for number in range(count):
            _store(cache, f"user {user}", str(number), body)
    assert cache.find("alice", "payment", b"digest") is not None
    assert len(cache) <= MAX_STORED_REPLIES_OF_ALL
    assert sum(replies.bytes for replies in cache._stored.values()) <= MAX_STORED_BYTES_OF_ALL


async def test_what_is_old_is_forgotten_with_its_user() -> None:
    clock = Clock()
    cache = DeduplicationCache[Any](clock)
    for number in range(100):
        _store(cache, f"user {number}", "key", b"body")
    clock.now += 61
    cache.purge()
    assert len(cache) == 0
    assert cache._stored == {}


async def test_a_key_that_runs_again_is_stored_once() -> None:
    cache = DeduplicationCache[Any](Clock())
    for _ in range(3):
        _store(cache, "alice", "key", bytes(MAX_STORED_BYTES // 2 + 1))
    assert len(cache) == 1
    assert cache._stored["alice"].bytes == MAX_STORED_BYTES // 2 + 1
