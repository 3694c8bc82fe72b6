"""Broadcasts of a client: how many answers it waits for, and what it knows of those that are missing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    NoRouteError,
    QueueFullError,
    SerializationError,
)
from rabibridge_core.transport import Reply
from tests.support.waiting import longer, soon, until
from tests.unit.broadcast_support import Asking, answer_at_once, begin_broadcast
from tests.unit.client_support import PATIENCE, lose, make_client, turns
from tests.unit.scripted_transport import ScriptedTransport

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_core.transport import Headers


@pytest.fixture
def sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No broadcast is sent again, nor its workers counted again, however long the test takes."""
    monkeypatch.setattr("rabibridge_core._client.broadcasting._FIRST_RESEND", 100 * PATIENCE)


@pytest.mark.usefixtures("sent_once")
async def test_it_ends_when_all_have_answered(client: Client, transport: ScriptedTransport) -> None:
    asking = await Asking(client, transport, 2).confirmed()
    request = transport.broadcasts[0]
    assert (request.routing_key, request.persistent) == ("async_add", False)
    assert 0 < (request.timeout or 0) <= PATIENCE
    asking.received("a", "b")
    asking.answer("a", 1)
    await until(lambda: bool(asking.replies))
    assert not asking.task.done()
    assert asking.broadcast.missing == ("name of b",)
    asking.answer("b", 2)
    await soon(asking.task)
    assert [(reply.worker, reply.result) for reply in asking.replies] == [("name of a", 1), ("name of b", 2)]
    assert asking.broadcast.complete
    assert transport.cancelled == []
    assert transport.looked == ["rpc_async_add"] * 2
    assert client.calls.broadcasts == {}


async def test_an_answer_may_come_before_its_announcement_and_twice(
    client: Client, transport: ScriptedTransport
) -> None:
    asking = await Asking(client, transport, 2).confirmed()
    for _ in range(3):
        asking.answer("a", 1)
    asking.received("a", "a")
    asking.answer("b", 2)
    await soon(asking.task)
    assert len(asking.replies) == 2
    assert client.stray_replies == 4


async def test_replies_without_a_worker_do_not_count(client: Client, transport: ScriptedTransport) -> None:
    asking = await Asking(client, transport, 1).confirmed()
    incomplete: list[Headers | None] = [None, {"rb-worker": "x"}, {"rb-worker": 1, "rb-worker-id": "x"}]
    for headers in incomplete:
        client.calls.replied(transport.broadcasts[0].correlation_id, Reply(b"\x92\x00\x01", None, None, headers))
    await turns()
    assert client.stray_replies == 3
    asking.answer("a")
    await soon(asking.task)
    assert len(asking.replies) == 1


async def test_one_who_says_nothing_is_counted_and_asked_again(client: Client, transport: ScriptedTransport) -> None:
    timeouts = longer(1.3)
    while True:
        timeout = next(timeouts)
        del transport.broadcasts[:]
        asking = Asking(client, transport, 2, timeout=timeout)
        answer_at_once(asking)
        await asyncio.wait((asking.task,))
        if asking.task.exception() is None and len(transport.broadcasts) > 1:  # before its time was over
            break
    first, second, *_ = (request.correlation_id for request in transport.broadcasts)
    assert second == first  # the same broadcast, for those that have not got it
    assert [reply.worker for reply in asking.replies] == ["name of a"]
    assert (asking.broadcast.missing, asking.broadcast.silent) == ((), 1)
    assert not asking.broadcast.complete
    assert transport.cancelled[-1] == ("async_add", first)


async def test_one_who_starts_meanwhile_gets_it(client: Client, transport: ScriptedTransport) -> None:
    asking = await Asking(client, transport, 2).confirmed()
    asking.answer("a")
    asking.workers(3)
    await asking.sent(2)
    asking.answer("b")
    await turns()
    assert not asking.task.done()
    asking.answer("c")
    await soon(asking.task)
    assert asking.broadcast.complete


async def test_one_who_goes_without_a_word_is_not_waited_for(client: Client, transport: ScriptedTransport) -> None:
    asking = Asking(client, transport, 2)
    transport.on_look = lambda: asking.workers(1 if len(transport.looked) > 1 else 2)  # it goes after it was counted
    await asking.confirmed()
    asking.answer("a")
    await soon(asking.task)
    assert 2 <= len(transport.looked) <= 3  # before, right after and, unless that was late, half a second later
    assert asking.broadcast.complete
    assert len(transport.broadcasts) == 1


@pytest.mark.usefixtures("sent_once")
async def test_one_who_leaves_right_after_receiving_does_not_stand_for_another(
    client: Client, transport: ScriptedTransport
) -> None:
    asking = Asking(client, transport, 2)
    await asking.sent()
    asking.workers(1)
    asking.answer("a")  # it has stopped meanwhile; the other one has not said anything yet
    await asking.confirmed()
    await turns()
    assert not asking.task.done()
    asking.answer("b")
    await soon(asking.task)
    assert len(asking.replies) == 2


async def test_the_count_is_not_known(client: Client, transport: ScriptedTransport) -> None:
    timeouts = longer(0.3)
    while True:
        timeout = next(timeouts)
        del transport.looked[:]
        asking = Asking(client, transport, None, timeout=timeout)
        answer_at_once(asking)
        await asyncio.wait((asking.task,))
        if asking.task.exception() is None:  # it was confirmed before its time was over
            break
    assert len(asking.replies) == 1
    assert asking.broadcast.silent is None
    assert not asking.broadcast.complete
    assert len(transport.looked) <= 3 + 2 * timeout


async def test_there_is_no_service(client: Client, transport: ScriptedTransport) -> None:
    asking = Asking(client, transport, None)
    client.calls.refused(await asking.sent(), NoRouteError, "no route")
    with pytest.raises(NoRouteError, match="add"):
        await soon(asking.task)


async def test_there_is_no_worker(client: Client, transport: ScriptedTransport) -> None:
    asking = Asking(client, transport, 0)
    client.calls.refused(await asking.sent(), NoRouteError, "no route")
    await soon(asking.task)
    assert asking.replies == []
    assert asking.broadcast.complete


async def test_one_worker_has_too_much_to_read(client: Client, transport: ScriptedTransport) -> None:
    asking = Asking(client, transport, 2)
    client.calls.refused(await asking.sent(), QueueFullError, "full")
    asking.answer("a")
    await asking.sent(2)
    await asking.confirmed()
    asking.answer("b")
    await soon(asking.task)
    assert asking.broadcast.complete


async def test_a_lost_connection_ends_it(client: Client, transport: ScriptedTransport) -> None:
    asking = await Asking(client, transport, 2).confirmed()
    asking.answer("a", 1)
    lose(client, transport)
    with pytest.raises(ConnectionLostError, match="broadcast of 'add'") as lost:
        await soon(asking.task)
    assert (lost.value.executed, lost.value.accepted) == (None, True)
    assert [reply.result for reply in asking.replies] == [1]
    assert client.calls.broadcasts == {}


async def test_a_refused_permission_ends_it(client: Client, transport: ScriptedTransport) -> None:
    asking = Asking(client, transport, 2)
    client.calls.lost(ConfigurationError("no permission"), [await asking.sent()])
    with pytest.raises(ConfigurationError, match="no permission"):
        await soon(asking.task)


async def test_closing_the_client_ends_it_and_tells_the_workers(client: Client, transport: ScriptedTransport) -> None:
    asking = await Asking(client, transport, 2).confirmed()
    asking.received("a")
    await client.close()
    with pytest.raises(ConnectionLostError):
        await soon(asking.task)
    assert ("async_add", transport.broadcasts[0].correlation_id) in transport.cancelled


async def test_the_broker_does_not_confirm(client: Client, transport: ScriptedTransport) -> None:
    asking = Asking(client, transport, 2, timeout=0.1)
    with pytest.raises(CallTimeoutError) as late:
        await soon(asking.task)
    assert late.value.executed is None


async def test_it_cannot_be_sent(client: Client, transport: ScriptedTransport) -> None:
    transport.pause("low on memory")
    with pytest.raises(CallTimeoutError, match="low on memory") as late:
        await soon(Asking(client, transport, 2, timeout=0.1).task)
    assert late.value.executed is False


async def test_its_timeout_is_short_unless_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    for call_timeout, expected in ((None, 10.0), (3600.0, 10.0), (3.0, 3.0)):
        transport = ScriptedTransport()
        client = make_client(transport, call_timeout=call_timeout)
        await client.connect()
        asking = Asking(client, transport, 0, timeout=None)
        answer_at_once(asking)
        await soon(asking.task)
        assert transport.broadcasts[0].timeout == pytest.approx(expected)
        await client.close()


async def test_results_are_adapted_one_by_one(client: Client, transport: ScriptedTransport) -> None:
    def positive(value: int) -> int:
        if value < 0:
            raise SerializationError("not positive")
        return value

    asking = await Asking(client, transport, 2, adapt=positive).confirmed()
    asking.answer("a", -1)
    asking.answer("b", 2)
    await soon(asking.task)
    bad, good = asking.replies
    assert isinstance(bad.error, SerializationError)
    assert not bad.ok
    assert "-1" not in repr(bad)
    assert (good.result, good.error) == (2, None)


async def test_it_is_sent_once(client: Client, transport: ScriptedTransport) -> None:
    asking = await Asking(client, transport, 0).confirmed()
    await soon(asking.task)
    with pytest.raises(RuntimeError, match="sent already"):
        aiter(asking.broadcast)


async def test_one_that_nobody_iterates_over_is_not_sent_and_says_so(
    client: Client, transport: ScriptedTransport
) -> None:
    broadcasts = [begin_broadcast(client)]
    assert "not sent" in repr(broadcasts)
    with pytest.warns(RuntimeWarning, match="never sent"):
        broadcasts.clear()
    assert transport.broadcasts == []


async def test_a_wrong_option_is_refused_at_once(client: Client) -> None:
    for options in ({"timeout": "soon"}, {"headers": {"rb-worker": "x"}}, {"kind": "both"}):
        with pytest.raises(ConfigurationError):
            begin_broadcast(client, **options)
