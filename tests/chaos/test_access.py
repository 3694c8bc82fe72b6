"""Who may not connect, declare or send is told so once, by what is missing; nobody else notices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import ConnectionState
from tests.chaos.ledger import WORK
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from tests.chaos.rig import Rig


async def _user(rig: Rig, name: str, *permissions: str) -> str:
    """Make a user with these permissions on the virtual host, and return the URL to use."""
    user = f"{name}-{rig.vhost}"
    await rig.chaos_broker.ctl("add_user", user, rig.chaos_broker.password)
    if permissions:
        configure, write, read = permissions
        await rig.chaos_broker.allow(rig.vhost, configure, write, read, user=user)
    return rig.url.replace(rig.chaos_broker.user, user)


async def _refused(rig: Rig, url: str, *words: str) -> None:
    """Check that a worker with this URL says once what is wrong, and does not try again."""
    network = await rig.network(url)
    worker = await rig.launch(url=network.url)
    said = await worker.says()
    assert "failed" in said, (said, worker.log.read_text())
    assert all(word in said["failed"] for word in words), (said, words)
    assert await worker.ended() == 2
    assert len(network.links) == 1
    problems = [line for line in worker.log.read_text().splitlines() if " INFO " not in line and " rabibridge" in line]
    assert len(problems) <= 1, "\n".join(problems)


async def _refused_later(rig: Rig, url: str, user: str) -> None:
    """Check that a client whose password is changed while it is connected tries again a few times and then says why."""
    network = await rig.network(url)
    client = await rig.client(network.url)
    assert (await soon(rig.ledger.call(client, WORK))).ok
    await rig.chaos_broker.ctl("change_password", user, "another")
    network.cut()
    await until(lambda: client.state is not ConnectionState.READY)
    with pytest.raises((ConfigurationError, ConnectionLostError), match="password"):
        await soon(client.remote_call("work", (-1, "", 0.0), timeout=60))
    await soon(client.close())
    rig.forget(client)
    assert len(network.links) < 15


async def test_those_who_are_refused(rig: Rig) -> None:
    await rig.worker()
    await rig.load(await rig.client())
    stranger, reader, changing = await asyncio.gather(
        _user(rig, "stranger"),
        _user(rig, "reader", r"^amq\.gen-.*$", ".*", ".*"),
        _user(rig, "changing", ".*", ".*", ".*"),
    )
    await asyncio.gather(
        _refused(rig, rig.url.replace(rig.chaos_broker.password, "secret-but-wrong"), "password"),
        _refused(rig, rig.url.replace(rig.vhost, "missing"), "missing"),
        _refused(rig, stranger, rig.vhost),
        _refused(rig, reader, "permission", "rpc_async_"),
        _refused_later(rig, changing, f"changing-{rig.vhost}"),
    )
    await rig.check(runs_twice=False)


async def test_one_who_may_not_send_until_it_is_granted(rig: Rig) -> None:
    await rig.worker()
    load = await rig.load(await rig.client())
    network = await rig.network(await _user(rig, "mute", r"^amq\.gen-.*$", "^$", ".*"))
    mute = await rig.client(network.url)
    entries = [await soon(rig.ledger.call(mute, WORK)) for _ in range(3)]
    entries += await soon(asyncio.gather(*(rig.ledger.call(mute, WORK) for _ in range(200))))
    for entry in entries:
        assert isinstance(entry.error, ConfigurationError), entry
        assert all(word in str(entry.error) for word in ("'rpc'", "write", "set_permissions", "mute-")), entry
    assert len(network.links) == 1
    await rig.chaos_broker.allow(rig.vhost, r"^amq\.gen-.*$", "^rpc$", ".*", user=f"mute-{rig.vhost}")

    healed: list[bool] = []

    async def try_again() -> None:
        while not healed:
            entry = await rig.ledger.call(mute, WORK)
            if entry.ok:
                healed.append(True)
            await asyncio.sleep(0.1)

    trying = asyncio.create_task(try_again())
    await until(lambda: bool(healed))
    await soon(trying)
    assert len(network.links) == 1
    await load.flows()
    await soon(mute.close())
    rig.forget(mute)
    await rig.check(errors={WORK: (ConfigurationError,)}, runs_twice=False)
