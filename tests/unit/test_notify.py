"""Notifications: when they end, and what is sent again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import RMQClient, RMQServer
from rabibridge_core._client.notify import notify
from rabibridge_core._client.options import CallOptions
from rabibridge_core._client.retry import RetryRefused
from rabibridge_core.errors import CallTimeoutError, ConfigurationError, ConnectionLostError, QueueFullError
from tests.support.waiting import soon, until
from tests.unit.client_support import PATIENCE, lose, make_client, turns
from tests.unit.scripted_transport import ScriptedTransport

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_core.transport import Request


def _begin(client: Client, *args: Any, **options: Any) -> asyncio.Task[None]:
    chosen = CallOptions("async", persistent=True)._replace(**options)
    return asyncio.ensure_future(notify(client.preparation, "add", args, {}, chosen))


async def _notified(transport: ScriptedTransport, count: int = 1) -> list[Request]:
    await until(lambda: len(transport.notified) >= count)
    return transport.notified


async def test_the_confirm_ends_it(client: Client, transport: ScriptedTransport) -> None:
    telling = _begin(client, 1, 2)
    (request,) = await _notified(transport)
    assert (request.routing_key, request.persistent, request.timeout, request.headers) == (
        "async_add",
        True,
        None,
        None,
    )
    await turns()
    assert not telling.done()
    client.calls.confirmed(request.correlation_id)
    await soon(telling)
    assert client.pending == 0
    assert transport.cancelled == []
    client.calls.confirmed(request.correlation_id)  # a second one is for nobody


async def test_a_loss_before_the_confirm_is_told(client: Client, transport: ScriptedTransport) -> None:
    telling = _begin(client)
    (request,) = await _notified(transport)
    lose(client, transport, request.correlation_id)
    with pytest.raises(ConnectionLostError) as lost:
        await soon(telling)
    assert (lost.value.executed, lost.value.accepted) == (None, False)
    assert client.pending == 0


async def test_an_idempotent_one_is_sent_again_with_its_key(client: Client, transport: ScriptedTransport) -> None:
    telling = _begin(client, idempotent=True, timeout=PATIENCE)
    (first,) = await _notified(transport)
    lose(client, transport, first.correlation_id)
    await turns()
    assert not telling.done()
    transport.open.set()
    _, again = await _notified(transport, 2)
    assert again.correlation_id == first.correlation_id
    assert first.headers is not None
    assert again.headers == {**first.headers, "rb-resent": True}
    assert first.timeout is not None
    assert again.timeout is not None
    assert 0 < again.timeout <= first.timeout
    client.calls.confirmed(again.correlation_id)
    await soon(telling)


async def test_without_a_timeout_it_has_no_deadline_and_ends_all_the_same() -> None:
    transport = ScriptedTransport()
    client = make_client(transport, call_timeout=0.05)
    await client.connect()
    telling = _begin(client)
    (request,) = await _notified(transport)
    assert request.timeout is None
    with pytest.raises(CallTimeoutError, match="no confirm of the broker") as late:
        await soon(telling)
    assert late.value.executed is None
    assert transport.cancelled == []
    assert transport.looked == []
    await client.close()


async def test_one_that_cannot_be_sent_in_time_did_not_run(client: Client, transport: ScriptedTransport) -> None:
    transport.pause("low on memory")
    with pytest.raises(CallTimeoutError, match="low on memory") as late:
        await soon(_begin(client, timeout=0.05))
    assert late.value.executed is False
    assert transport.notified == []


async def test_cancelling_the_task_withdraws_nothing(client: Client, transport: ScriptedTransport) -> None:
    telling = _begin(client)
    await _notified(transport)
    telling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await telling
    assert transport.cancelled == []
    assert client.pending == 0


async def test_closing_the_client_withdraws_nothing(client: Client, transport: ScriptedTransport) -> None:
    telling = _begin(client, persistent=False)
    await _notified(transport)
    await client.close()
    with pytest.raises(ConnectionLostError) as closed:
        await soon(telling)
    assert closed.value.executed is None
    assert transport.cancelled == []


async def test_it_is_refused_like_a_call_and_sent_again_like_one(client: Client, transport: ScriptedTransport) -> None:
    telling = _begin(client, retry=RetryRefused(attempts=3, base=0.001, cap=0.001))
    (request,) = await _notified(transport)
    transport.open.set()
    client.calls.refused(request.correlation_id, QueueFullError, "full")
    again = (await _notified(transport, 2))[1]
    assert again.correlation_id == request.correlation_id
    client.calls.confirmed(again.correlation_id)
    await soon(telling)


async def test_its_confirm_does_not_pass_for_the_time_of_a_call(client: Client, transport: ScriptedTransport) -> None:
    for number in range(1, 4):  # while a service refuses calls, the times that its calls take are measured
        telling = _begin(client)
        client.calls.refused((await _notified(transport, 2 * number - 1))[-1].correlation_id, QueueFullError, "full")
        with pytest.raises(QueueFullError) as full:
            await soon(telling)
        assert full.value.retry_after is None
        telling = _begin(client)
        client.calls.confirmed((await _notified(transport, 2 * number))[-1].correlation_id)
        await soon(telling)


async def test_a_wrong_option_is_refused(client: Client) -> None:
    for options in ({"timeout": "soon"}, {"persistent": "yes"}, {"headers": {"rb-key": "x"}}, {"idempotency_key": ""}):
        with pytest.raises(ConfigurationError):
            await soon(_begin(client, **options))


async def test_in_a_handler_the_deadline_limits_the_wait_alone() -> None:
    server, client = RMQServer(url="memory://notify"), RMQClient(url="memory://notify")
    times: asyncio.Queue[float | None] = asyncio.Queue()

    async def later() -> None:
        from rabibridge import current_call

        times.put_nowait(current_call().time_left)

    async def now() -> None:
        await client.notify(later)
        await client.options(timeout=100.0).notify(later)

    server.add_service(later)
    server.add_service(now)
    async with server.serving(), client:
        await soon(client.options(timeout=20.0).call(now))
        assert await soon(times.get()) is None
        left = await soon(times.get())
        assert left is not None
        assert 90 < left <= 100


async def test_hooks_see_it() -> None:
    from rabibridge_core.plugins import hookimpl, plugin_manager

    class Listener:
        def __init__(self) -> None:
            self.told: list[tuple[str, object]] = []

        @hookimpl
        def rabibridge_call_sent(self, func_name: str, headers: dict[str, object]) -> None:
            headers["trace"] = "abc"
            self.told.append(("sent", func_name))

        @hookimpl
        def rabibridge_call_finished(self, func_name: str, error: BaseException | None) -> None:
            self.told.append((func_name, error))

    listener = Listener()
    plugin_manager().register(listener)
    try:
        transport = ScriptedTransport()
        client = make_client(transport)
        await client.connect()
        telling = _begin(client)
        (request,) = await _notified(transport)
        assert request.headers == {"trace": "abc"}
        client.calls.confirmed(request.correlation_id)
        await soon(telling)
        await client.close()
    finally:
        plugin_manager().unregister(listener)
    assert listener.told == [("sent", "add"), ("add", None)]
