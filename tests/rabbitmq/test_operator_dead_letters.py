"""Operators look at dead letters and delete them, and take turns."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
import zstandard

from rabibridge._operations.dead_letters import DeadLetters
from rabibridge._operations.operator_session import operator_session
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.operations.errors import OperationError
from rabibridge_core.operations.letter_contents import HIDDEN
from rabibridge_core.operations.letters import LetterFilter
from rabibridge_core.settings import load_settings
from tests.rabbitmq.operators import DEAD, add_letter, declare_dead_letters, drained, operator, packed
from tests.rabbitmq.support import waiting_in
from tests.support.raw_publisher import RawPublisher
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from tests.rabbitmq.users import Users


def _numbers(messages: list[Any]) -> list[int]:
    return [msgpack.unpackb(message.body)[0][0] for message in messages]


async def test_where_there_is_no_queue_there_are_none(vhost_url: str) -> None:
    async with operator(vhost_url) as letters:
        assert await letters.list() == ([], 0, 0)
        assert await letters.show("nothing") is None
        assert await letters.purge() == 0


async def test_what_a_list_says_and_that_it_leaves_all_as_it_was(raw: Any, vhost_url: str) -> None:
    await declare_dead_letters(raw)
    for number in range(3):
        await add_letter(raw, number, reason=f"reason {number}", headers={"rb-deaths": number})
    await add_letter(raw, 3, "two:urgent", headers={"rb-dead-at": int((time.time() - 7200) * 1000), "rb-timeout": 1000})
    await raw.basic_publish(b"of another program", routing_key=DEAD)
    async with operator(vhost_url) as letters:
        found = (await letters.list()).letters
        assert [letter.service for letter in found] == ["one", "one", "one", "two", ""]
        assert [letter.reason for letter in found] == ["reason 0", "reason 1", "reason 2", "a reason", ""]
        assert [letter.deaths for letter in found] == [1, 2, 3, 1, 1]
        assert [letter.foreign for letter in found] == [False, False, False, False, True]
        assert [letter.is_expired() for letter in found] == [False, False, False, True, False]
        assert abs((found[0].at or 0) - time.time()) < 60
        assert found[0].by == "a worker"
        assert len({letter.id for letter in found}) == 5
        for which, expected in (
            (LetterFilter(service="one"), [0, 1, 2]),
            (LetterFilter(service="rpc_async_two:urgent"), [3]),
            (LetterFilter(reason="SON 1"), [1]),
            (LetterFilter(older_than=3600), [3]),
            (LetterFilter(service="one", reason="2"), [2]),
            (LetterFilter(ids=[found[1].id, found[4].id]), [1, 4]),
        ):
            assert (await letters.list(which)).letters == [found[index] for index in expected]
        limited = await letters.list(limit=2)
        assert (limited.letters, limited.looked_at, limited.waiting) == (found[:2], 2, 5)
        assert (await letters.list()).letters == found
    assert _numbers((await drained(raw, DEAD))[:4]) == [0, 1, 2, 3]


async def test_what_is_shown_of_one(raw: Any, vhost_url: str) -> None:
    await declare_dead_letters(raw)
    secret = {"password": "visible", "nested": {"Api-Key": "visible"}, "at": "amqp://me:visible@host/", "plain": 1}
    body = zstandard.compress(packed([["first"], secret]))
    await add_letter(raw, 0, body=body, properties={"content_encoding": "zstd"}, headers={"authorization": "visible"})
    await add_letter(raw, 1, body=b"cos\nsystem\n(S'true'\ntR.", properties={"content_type": "application/x-pickle"})
    await add_letter(raw, 2, body=b"\xc1")
    async with operator(vhost_url) as letters:
        found = [await letters.show(letter.id) for letter in (await letters.list()).letters]
    assert found[0] is not None
    assert found[0].args == ["first"]
    assert found[0].kwargs == {
        "password": HIDDEN, "nested": {"Api-Key": HIDDEN}, "at": f"amqp://me:{HIDDEN}@host/", "plain": 1,
    }  # fmt: skip
    assert "visible" not in repr((found[0], found[0].letter.headers))
    for contents, why in ((found[1], "pickle"), (found[2], "msgpack")):
        assert contents is not None
        assert (contents.args, contents.kwargs) == (None, None)
        assert why in contents.problem
    assert await soon(waiting_in(vhost_url, DEAD)) == 3


async def test_purge_deletes_what_is_meant_and_nothing_of_others(raw: Any, vhost_url: str) -> None:
    await declare_dead_letters(raw)
    for number in range(4):
        await add_letter(raw, number, ("one", "two")[number % 2])
    await raw.basic_publish(b"of another program", routing_key=DEAD)
    async with operator(vhost_url) as letters:
        assert await letters.purge(LetterFilter(service="two")) == 2
        assert [letter.correlation_id for letter in (await letters.list()).letters] == ["0", "2", ""]
        assert await letters.purge() == 2
        assert await letters.purge(foreign=True) == 1
    assert await soon(waiting_in(vhost_url, DEAD)) == 0


async def test_a_consumer_of_the_queue_is_not_disturbed_unless_that_is_asked_for(raw: Any, vhost_url: str) -> None:
    await declare_dead_letters(raw)
    for number in range(30):
        await add_letter(raw, number)
    read: list[int] = []
    looks = 0

    async def reader(message: Any) -> None:
        read.append(msgpack.unpackb(message.body)[0][0])
        seen = looks
        await until(lambda: looks > seen or len(read) == 30)  # somebody looks while it holds this one
        await message.channel.basic_ack(message.delivery_tag)

    async with (
        operator(vhost_url) as letters,
        operator_session(load_settings(url=vhost_url), "test") as session,
    ):
        careless = DeadLetters(session, beside_consumers=True)
        await raw.basic_qos(prefetch_count=1)
        await raw.basic_consume(DEAD, reader)
        while len(read) < 15:
            with pytest.raises(OperationError, match="has consumers"):
                await soon(letters.list())
            looks += 1
        assert read == list(range(len(read)))
        while len(read) < 30:
            await soon(careless.list())
            looks += 1
    assert sorted(read) == list(range(30))


async def test_operators_take_turns(raw: Any, vhost_url: str) -> None:
    await declare_dead_letters(raw, "one")
    for number in range(50):
        await add_letter(raw, number)
    async with operator(vhost_url) as first, operator(vhost_url) as second:
        moved = await soon(asyncio.gather(first.requeue(), second.list(), second.requeue(), first.list()))
        assert sum(len(one.requeued) for one in (moved[0], moved[2])) == 50
        assert {len(one.letters) for one in (moved[1], moved[3])} <= {0, 50}
    assert _numbers(await drained(raw, "rpc_async_one")) == list(range(50))


async def test_one_who_waits_too_long_is_told(raw: Any, vhost_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rabibridge._operations.dead_letters._LOCK_TIMEOUT", 0.2)
    await declare_dead_letters(raw)
    await raw.queue_declare("rpc.dead.lock", exclusive=True)
    async with operator(vhost_url) as letters:
        with pytest.raises(OperationError, match="another operator"):
            await soon(letters.list())
        await raw.queue_delete("rpc.dead.lock")
        assert await letters.list() == ([], 0, 0)


async def test_an_operator_needs_to_read_and_to_write_and_no_more(raw: Any, users: Users, vhost_url: str) -> None:
    await declare_dead_letters(raw, "one")
    await add_letter(raw, 0)
    async with operator(await users.add("^$", "^$", "^$")) as letters:
        with pytest.raises(ConfigurationError, match=r"rpc\.dead"):
            await soon(letters.list())
    async with operator(await users.add("^$", "^$", "^rpc\\.dead$")) as letters:
        assert len((await letters.list()).letters) == 1
        with pytest.raises(ConfigurationError, match=r"amq\.default"):
            await soon(letters.requeue())
    assert await soon(waiting_in(vhost_url, DEAD)) == 1
    async with operator(await users.add("^$", "^amq\\.default$", "^rpc\\.dead$")) as letters:
        assert len((await letters.requeue()).requeued) == 1


async def test_letters_that_nobody_can_read_harm_none_of_the_others(raw: Any, vhost_url: str) -> None:
    await declare_dead_letters(raw, "one")
    year = b"\x01aT\x7f" + b"\xff" * 7  # a time so far away that aiormq ends the connection
    forged: dict[str, Any] = {
        "rb-dead-at": 2**62,
        "rb-deaths": -5,
        "rb-deadline": 1e30,
        "x-death": ["text"],
        "rb-timeout": True,
    }
    await add_letter(raw, 0, headers=forged, body=b"\x00" * 300_000)
    async with await RawPublisher.connect(vhost_url) as publisher:
        await publisher.publish("", DEAD, 0x2000, len(year).to_bytes(4, "big") + year, b"")
    await add_letter(raw, 1)
    async with operator(vhost_url) as letters:
        found = (await letters.list()).letters
        assert [(letter.correlation_id, letter.foreign, letter.at is None) for letter in found] == [
            ("0", False, True), ("", True, True), ("1", False, False),
        ]  # fmt: skip
        assert (found[0].deaths, found[0].deadline, found[0].size) == (1, None, 300_000)
        assert await letters.show(found[1].id) is not None
        assert len((await letters.requeue()).requeued) == 2
    assert [message.body[:2] for message in await drained(raw, "rpc_async_one")] == [b"\x00\x00", packed([[1], {}])[:2]]
