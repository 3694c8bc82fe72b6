"""Functions that call their own service, with a client that may not ask workers who holds their places."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest

from rabibridge import RemoteExecutionError
from tests.rabbitmq.grants import Grants
from tests.support.waiting import PATIENCE, soon, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.users import Users
    from tools.broker import Broker


@pytest.mark.parametrize("introspection", [False, True], ids=["may not ask", "may ask"])
async def test_a_caller_that_may_not_ask_waits_for_its_own_chain_and_loses_no_call(
    stage: Stage, governed: Broker, users: Users, vhost_url: str, tmp_path: Path, introspection: bool
) -> None:
    namespace = "billing"
    grants = Grants(governed, users, vhost_url, namespace, tmp_path)
    end, opened, levels = secrets.token_hex(4), asyncio.Event(), list[int]()
    names = [f"deeper_{end}", f"held_{end}"]
    caller = await grants.user("caller", names, introspection=introspection)
    client = await stage.client(url=caller, namespace=namespace)

    async def deeper(level: int) -> int:
        levels.append(level)
        return level and 1 + int(await client.options(timeout=2 * PATIENCE).call(names[0], level - 1))

    async def held() -> str:
        await opened.wait()
        return "kept"

    server = stage.new_server(url=await grants.user("server", names), namespace=namespace)
    server.add_service(deeper, name=names[0], fetch_size=1)
    server.add_service(held, name=names[1])
    await soon(server.connect())
    stage.start(server)
    kept = asyncio.ensure_future(client.options(timeout=2 * PATIENCE).call(names[1]))
    call = asyncio.ensure_future(client.options(timeout=2 * PATIENCE).call(names[0], 1))
    if introspection:
        with pytest.raises(RemoteExecutionError, match="DeadlockError"):
            await soon(call)
    else:
        await until(lambda: client.pending == 3)  # the second level was sent, and waits
        call.cancel()
    opened.set()
    assert await soon(kept) == "kept"
    assert levels == [1]
