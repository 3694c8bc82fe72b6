"""Operators move dead letters back to their services, in their order, and lose none."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import aiormq
import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest

from rabibridge_core.operations.errors import OperationError
from tests.rabbitmq.operators import DEAD, add_letter, declare_dead_letters, drained, operator, packed
from tests.rabbitmq.support import Stage, until_waiting, waiting_in
from tests.support.processes import Processes
from tests.support.services import new_echo
from tests.support.waiting import soon, until_true

if TYPE_CHECKING:
    from pathlib import Path

    from tools.broker import Broker


def _numbers(messages: list[Any]) -> list[int]:
    return [msgpack.unpackb(message.body)[0][0] for message in messages]


async def test_requeued_letters_keep_their_order_and_everything_but_their_death(raw: Any, vhost_url: str) -> None:
    await declare_dead_letters(raw, "one", "two")
    kept = {"trace": "abc", "nested": {"a": [1, None]}, "rb-key": "k"}
    death = {
        "x-death": [{"queue": "q", "count": 3, "reason": "rejected"}], "x-first-death-queue": "q", "rb-deliveries": 9,
        "x-delivery-count": 4, "rb-user": "somebody", "rb-resent": True, "rb-deaths": 2,
    }  # fmt: skip
    for number in range(6):
        await add_letter(raw, number, ("one", "two")[number % 2], headers={**kept, **death})
    await raw.basic_publish(b"of another program", routing_key=DEAD)
    async with operator(vhost_url) as letters:
        report = await letters.requeue()
    assert [letter.correlation_id for letter in report.requeued] == ["0", "1", "2", "3", "4", "5"]
    assert [(letter.foreign, why[:13]) for letter, why in report.refused] == [(True, "it is foreign")]
    for service, numbers in (("one", [0, 2, 4]), ("two", [1, 3, 5])):
        messages = await drained(raw, f"rpc_async_{service}")
        assert _numbers(messages) == numbers
        for message in messages:
            properties = message.header.properties
            assert properties.headers == {**kept, "rb-deaths": 3}
            assert (properties.delivery_mode, properties.content_type, properties.expiration) == (
                2, "application/msgpack", None,
            )  # fmt: skip
    assert [message.body for message in await drained(raw, DEAD)] == [b"of another program"]


async def test_letters_whose_time_is_up_stay_or_get_a_new_one(raw: Any, vhost_url: str) -> None:
    await declare_dead_letters(raw, "one")
    now = int(time.time() * 1000)
    await add_letter(raw, 0, headers={"rb-timeout": 1000, "rb-deadline": now - 5000})
    await add_letter(raw, 1, headers={"rb-timeout": 1000, "rb-dead-at": now - 5000})
    await add_letter(raw, 2, headers={"rb-timeout": 1000, "rb-deadline": now + 500_000})
    async with operator(vhost_url) as letters:
        report = await letters.requeue()
        assert [letter.correlation_id for letter in report.requeued] == ["2"]
        assert ["--timeout" in why for _, why in report.refused] == [True, True]
        (message,) = await drained(raw, "rpc_async_one")
        headers = message.header.properties.headers
        assert 400_000 < int(message.header.properties.expiration) <= 500_000
        assert 400_000 < headers["rb-timeout"] <= 500_000
        assert headers["rb-deadline"] == now + 500_000
        assert not (await letters.requeue(timeout=60)).refused
    for message in await drained(raw, "rpc_async_one"):
        headers = message.header.properties.headers
        assert (message.header.properties.expiration, headers["rb-timeout"]) == ("60000", 60_000)
        assert "rb-deadline" not in headers


async def test_where_there_is_no_room_or_no_queue_they_stay_in_their_order(raw: Any, vhost_url: str) -> None:
    await declare_dead_letters(raw, "one", arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    await declare_dead_letters(raw, "two")
    for number in range(6):
        await add_letter(raw, number, ("one", "gone", "one", "one", "two", "one")[number])
    async with operator(vhost_url) as letters:
        report = await letters.requeue()
        assert [letter.correlation_id for letter in report.requeued] == ["0", "2", "4"]
        reasons = [why for _, why in report.refused]
        assert "'rpc_async_gone' does not exist" in reasons[0]
        assert "'rpc_async_one' is full" in reasons[1]
        assert "behind another letter" in reasons[2]
        assert [letter.correlation_id for letter in (await letters.list()).letters] == ["1", "3", "5"]
    assert _numbers(await drained(raw, "rpc_async_one")) == [0, 2]


async def test_a_letter_that_dies_again_is_counted(stage: Stage, raw: Any) -> None:
    await declare_dead_letters(raw)
    name = await stage.serve(new_echo())
    await raw.basic_publish(b"\xc1 garbage", exchange="rpc", routing_key=f"async_{name}")
    async with operator(stage.url) as letters:
        for deaths in (1, 2, 3, 4):
            await until_waiting(stage.url, DEAD, 1)
            (letter,) = (await letters.list()).letters
            assert (letter.service, letter.deaths, letter.foreign) == (name, deaths, False)
            assert not any(header.startswith(("x-", "rb-deliveries")) for header in letter.headers)
            report = await letters.requeue()
            assert [one.id for one in report.requeued] == [letter.id]
        await until_waiting(stage.url, DEAD, 1)
        assert await letters.purge() == 1
    client = await stage.client()
    assert await soon(client.remote_call(name, (1,))) == 1


async def test_what_the_broker_has_dead_lettered_of_a_service(raw: Any, vhost_url: str) -> None:
    await declare_dead_letters(raw)
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
    await declare_dead_letters(raw, "limited", arguments={**dead, "x-message-ttl": 10})
    await raw.basic_publish(packed([[7], {}]), routing_key="rpc_async_limited")
    await until_waiting(vhost_url, DEAD, 1)
    async with operator(vhost_url) as letters:
        (letter,) = (await letters.list()).letters
        assert (letter.service, letter.reason, letter.foreign) == ("limited", "the broker: expired", False)
        assert abs((letter.at or 0) - time.time()) < 60
        await letters.requeue()
        await until_waiting(vhost_url, DEAD, 1)  # it dies again
        (letter,) = (await letters.list()).letters
        assert letter.deaths == 2
        assert letter.headers["x-death"][0]["count"] == 1


async def test_one_who_is_killed_in_the_middle_loses_none(raw: Any, vhost_url: str, tmp_path: Path) -> None:
    await declare_dead_letters(raw, "one")
    count = 400
    await asyncio.gather(*(add_letter(raw, number) for number in range(count)))
    order = []
    async with operator(vhost_url) as letters:
        order = [int(letter.correlation_id) for letter in (await letters.list()).letters]
    async with Processes(tmp_path) as processes:
        moving = await processes.start("tests.rabbitmq.requeue_program", {"RABIBRIDGE_URL": vhost_url})
        await moving.ready()

        async def some_are_moved() -> bool:
            return await waiting_in(vhost_url, "rpc_async_one") >= 20

        await until_true(some_are_moved)
        moving.kill()
        await moving.ended()

    async def all_are_back() -> bool:
        moved, left = await waiting_in(vhost_url, "rpc_async_one"), await waiting_in(vhost_url, DEAD)
        return moved + left in (count, count + 1)

    await until_true(all_are_back)
    moved, left = _numbers(await drained(raw, "rpc_async_one")), _numbers(await drained(raw, DEAD))
    assert 20 <= len(moved) < count
    assert moved == order[: len(moved)]
    assert left in (order[len(moved) :], order[len(moved) - 1 :])  # at most one is in both


async def test_while_the_broker_accepts_no_messages_they_stay(own_node: Broker) -> None:
    url = own_node.fresh_vhost()
    async with await aiormq.connect(url) as connection:
        raw = await connection.channel()
        await declare_dead_letters(raw, "one")
        for number in range(3):
            await add_letter(raw, number)
    await asyncio.to_thread(own_node.ctl, "set_vm_memory_high_watermark", "0.0000001")
    try:
        async with operator(url) as letters:
            assert len((await letters.list()).letters) == 3  # looking publishes nothing
            with pytest.raises(OperationError, match="accepts no messages now: low on memory"):
                await soon(letters.requeue())
    finally:
        await asyncio.to_thread(own_node.ctl, "set_vm_memory_high_watermark", "0.4")
    async with operator(url) as letters:

        async def can_be_moved() -> bool:
            try:
                return not (await letters.requeue()).refused
            except OperationError:
                return False

        await until_true(can_be_moved)
    await until_waiting(url, DEAD, 0)
    assert await waiting_in(url, "rpc_async_one") == 3
