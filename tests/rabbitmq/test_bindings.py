"""Exchanges, bindings and queues that somebody deletes or changes under a running server: it looks after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rabibridge import CallTimeoutError, ConfigurationError, ConnectionLostError, NoRouteError
from tests.rabbitmq.support import until_call_gives, waiting_in
from tests.support.services import new_echo
from tests.support.waiting import soon, until, until_true

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel

    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.users import Users


async def test_a_binding_that_is_deleted_comes_back_with_the_first_call_that_misses_it(
    stage: Stage, raw: AbstractChannel
) -> None:
    name = await stage.serve(new_echo())
    client = await stage.client()
    await until_call_gives(client, name, 1, 1)
    await raw.queue_unbind(f"rpc_async_{name}", "rpc", f"async_{name}")
    with pytest.raises(NoRouteError):
        await soon(client.remote_call(name, (2,)))
    await until_call_gives(client, name, 3, 3)
    await raw.queue_unbind(f"rpc_async_{name}", "rpc_any", f"any:{name}")
    with pytest.raises(NoRouteError):
        await soon(client.remote_call(name, (4,), ftype="any"))
    await until_call_gives(client, name, 5, 5, ftype="any")


@pytest.mark.parametrize("exchange", ["rpc", "rpc_any", "rpc_any_sync"])
async def test_an_exchange_that_is_deleted_comes_back_with_its_bindings(
    stage: Stage, raw: AbstractChannel, exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rabibridge._transport.binding_watch._LOOK_INTERVAL", 0.5)

    def in_a_thread() -> str:
        return "thread"

    name, sync_name = stage.register(echo := new_echo()), stage.register(in_a_thread)
    server = await stage.server(echo, in_a_thread)
    client = await stage.client()
    await until(lambda: server.health().ok)
    await raw.exchange_delete(exchange)
    for ftype in ("any", "async"):
        await until_call_gives(client, name, 1, 1, ftype=ftype)
    for ftype in ("any", "sync"):
        await until_call_gives(client, sync_name, "thread", ftype=ftype)
    await until(lambda: server.health().ok)


async def test_a_worker_that_may_not_publish_replies_does_not_start_and_says_why(stage: Stage, users: Users) -> None:
    stage.register(echo := new_echo())
    url = await users.add(".*", "^(rpc.*|amq.gen.*)$", ".*")
    server = stage.new_server(url=url)
    server.load_services({"echo": echo})
    await soon(server.connect())
    with pytest.raises(ConfigurationError, match=r"write to the exchange 'amq.default'.*every reply"):
        await soon(server.run_serve(signals=False))
    assert not server.health()


async def test_a_service_that_may_not_be_consumed_comes_back_with_the_permission(stage: Stage, users: Users) -> None:
    name = stage.register(echo := new_echo())
    url = await users.add(".*", ".*", ".*")
    server = await stage.server(echo, url=url)
    client = await stage.client()
    await until_call_gives(client, name, 1, 1)
    await users.allow(url, ".*", ".*", "^(rpc|rpc_any.*|amq.gen.*)$")
    server._transport.abort()  # type: ignore[attr-defined]
    await until(lambda: any("permission" in reason for reason in server.health().reasons))
    await users.allow(url, ".*", ".*", ".*")
    await until_call_gives(client, name, 2, 2)
    await until(lambda: server.health().ok)


async def test_a_caller_whose_reply_queue_is_refused_comes_back_with_the_permission(stage: Stage, users: Users) -> None:
    name = await stage.serve(new_echo())
    url = await users.add(".*", ".*", ".*")
    client = await stage.client(url=url)
    await until_call_gives(client, name, 1, 1)

    async def is_refused() -> bool:
        try:
            await client.remote_call(name, (2,), timeout=1)
        except ConfigurationError as error:
            return "permission" in str(error)
        except (ConnectionLostError, CallTimeoutError):
            return False
        return False

    await users.allow(url, "^rpc$", ".*", ".*")
    client._transport.abort()  # type: ignore[attr-defined]
    await until_true(is_refused)
    await users.allow(url, ".*", ".*", ".*")

    async def is_answered() -> bool:
        try:
            return bool(await client.remote_call(name, (3,), timeout=5) == 3)
        except ConfigurationError:
            return False

    await until_true(is_answered)


async def test_re_register_beside_another_worker_is_refused_and_nothing_is_lost(stage: Stage) -> None:
    async def answer() -> str:
        return "before"

    async def newer() -> str:
        return "after"

    name = stage.register(answer, queue_size=500)
    server = await stage.server(answer)
    client = await stage.client()
    await until_call_gives(client, name, "before")
    newer.__name__ = name
    second = stage.new_server()
    second.add_service(newer, queue_size=400, re_register=True)
    with pytest.raises(ConfigurationError, match=r"queue_size is 500 on the broker, 400 here.*1 worker serves it"):
        await soon(second.connect())
    assert await soon(client.remote_call(name)) == "before"
    await soon(server.close())
    call = client.remote_call(name, timeout=0.2)
    with pytest.raises(TimeoutError):
        await call
    third = stage.new_server()
    third.add_service(newer, queue_size=400, re_register=True)
    await soon(third.connect())
    assert await waiting_in(stage.url, f"rpc_async_{name}") == 0
    stage.start(third)
    await until_call_gives(client, name, "after")
