"""What operators do on Redis: dead letters, queues, permissions, doctor, and the commands for them."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

import httpx
import msgpack  # type: ignore[import-untyped]
import pytest

from rabibridge import RMQClient
from rabibridge._dashboard.access import ACTION_HEADER
from rabibridge.dashboard import Dashboard
from rabibridge_core import ConfigurationError, NoRouteError, register_call
from rabibridge_core.operations import Examination, LetterFilter, OperationError, PermissionRequest, Report, Status
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import Request
from rabibridge_redis._operations.operator import RedisOperator
from rabibridge_redis._operations.sessions import operator_session
from rabibridge_redis._resp.wire import encode_request
from tests.support.redis_fixture import needs_redis_server
from tools.redis_server import PrivateRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PATIENCE = 60.0


@register_call
async def add(one: int, two: int) -> int:
    return one + two


@register_call
async def count(number: int) -> AsyncIterator[int]:
    for value in range(number):
        yield value


@pytest.fixture(scope="module")
def own_redis() -> Iterator[PrivateRedis]:
    """A server whose users and settings these tests change."""
    needs_redis_server()
    with PrivateRedis() as server:
        yield server


@pytest.fixture
async def empty_redis(own_redis: PrivateRedis) -> PrivateRedis:
    async with operator_session(load_settings(url=own_redis.url), "test") as session:
        await session.commands.ask("FLUSHALL")
    return own_redis


async def dead_calls(url: str) -> None:
    """Declare the queue of ``add``, and put two calls of it among the dead letters."""
    server = RpcServer(url=url)
    server.add_service(add)
    async with server.serving():
        pass
    body: Any = msgpack.packb([[1, 2], {}])
    async with operator_session(load_settings(url=url), "test") as session:
        for reason in ("first reason", "second reason"):
            request = Request("", reason.encode(), body, "application/msgpack", None, None, {})
            meta = encode_request(request, b"0" * 32 + b".1", wants_reply=True)
            await session.ask("dead_letter", "rpc_async_add", reason, 1, meta, body, 1 << 20)


async def test_dead_letters_are_listed_shown_moved_back_and_deleted(empty_redis: PrivateRedis) -> None:
    settings = load_settings(url=empty_redis.url)
    await dead_calls(empty_redis.url)
    async with RedisOperator(settings).dead_letters(beside_consumers=False) as letters:
        found = await letters.list()
        assert [(letter.service, letter.reason, letter.foreign) for letter in found.letters] == [
            ("add", "first reason", False),
            ("add", "second reason", False),
        ]
        assert (found.looked_at, found.waiting) == (2, 2)
        first, second = found.letters
        shown = await letters.show(first.id)
        assert shown is not None
        assert shown.args == [1, 2], shown.problem
        assert await letters.show("1-1") is None
        with pytest.raises(OperationError, match="no --vouch"):
            await letters.requeue(vouch=True)

        server = RpcServer(url=empty_redis.url)
        server.add_service(add)
        async with server.serving():
            report = await letters.requeue(LetterFilter(ids={first.id}), timeout=PATIENCE)
            assert [letter.id for letter in report.requeued] == [first.id]
            async with RedisOperator(settings).queues() as queues:
                while (await queues.find(["add"]))[0].waiting:  # noqa: ASYNC110 - nothing tells when it is taken
                    await asyncio.sleep(0.01)
        assert [letter.id for letter in (await letters.list()).letters] == [second.id]
        assert await letters.purge(LetterFilter(reason="other")) == 0
        assert await letters.purge() == 1
        assert (await letters.list()).waiting == 0


async def test_the_dashboard_shows_services_and_moves_dead_letters_back(empty_redis: PrivateRedis) -> None:
    await dead_calls(empty_redis.url)
    server = RpcServer(url=empty_redis.url)
    server.add_service(add)
    async with server.serving(), RMQClient(url=empty_redis.url) as client:
        shown = Dashboard(client=client, allow_actions=True)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=shown),
            base_url="http://localhost",
            headers={"Origin": "http://localhost"},
        ) as page:
            state = (await page.get("/api/state")).json()
            assert [service["name"] for service in state["services"]] == ["add"]
            found = (await page.get("/api/dead")).json()
            assert [letter["reason"] for letter in found["letters"]] == ["first reason", "second reason"]
            chosen = {"letters": [found["letters"][0]["id"]], "timeout": PATIENCE}
            answer = await page.post("/api/dead/requeue", json=chosen, headers={ACTION_HEADER: "1"})
            assert answer.json() == {"said": "1 requeued", "left": 0}, answer.text
            assert (await page.get("/api/dead")).json()["total"] == 1
        await shown.close()


async def test_a_letter_that_cannot_be_read_is_foreign(empty_redis: PrivateRedis) -> None:
    async with operator_session(load_settings(url=empty_redis.url), "test") as session:
        await session.ask("dead_letter", "rpc_async_add", "reason", 1, b"", b"x", 1 << 20)
    async with RedisOperator(load_settings(url=empty_redis.url)).dead_letters(beside_consumers=False) as letters:
        (letter,) = (await letters.list()).letters
        assert letter.foreign
        report = await letters.requeue()
        assert [refusal.reason for refusal in report.refused] == ["it cannot be read"]
        assert await letters.purge() == 0
        assert await letters.purge(foreign=True) == 1


async def test_queues_are_emptied_and_deleted(empty_redis: PrivateRedis) -> None:
    settings = load_settings(url=empty_redis.url)
    server = RpcServer(url=empty_redis.url)
    server.add_service(add)
    async with server.serving(), RedisOperator(settings).queues() as queues:
        (state,) = await queues.find(["add"])
        assert (state.name, state.waiting, state.consumers) == ("rpc_async_add", 0, 1)
        with pytest.raises(OperationError, match="has 1 consumer"):
            await queues.delete(state.name)
    async with RpcClient(url=empty_redis.url) as client, RedisOperator(settings).queues() as queues:
        calls = [asyncio.create_task(client.notify("add", (1, number))) for number in range(5)]
        await asyncio.gather(*calls)
        assert await queues.purge("rpc_async_add") == 5
        assert (await queues.find(["add"]))[0].waiting == 0
        assert await queues.delete("rpc_async_add") == 0
        assert await queues.find(["add", "rpc_sync_add"]) == []
        with pytest.raises(NoRouteError):
            await client.remote_call("add", (1, 2), timeout=PATIENCE)


async def as_user(redis: PrivateRedis, role: str, namespace: str = "", *services: str) -> str:
    """Make a user with what ``rabibridge permissions`` prints, and return its URL."""
    settings = load_settings(url=redis.url, namespace=namespace or None)
    request = PermissionRequest(role, services, f"the-{role}")  # type: ignore[arg-type]
    (command,), _ = RedisOperator(settings).permissions(request)
    program, *words = shlex.split(command)
    assert program == "redis-cli"
    async with operator_session(load_settings(url=redis.url), "test") as session:
        await session.commands.ask("ACL", "DELUSER", f"the-{role}")
        await session.commands.ask(*(word.replace("PASSWORD", "secret") for word in words))
    return redis.url.replace("redis://", f"redis://the-{role}:secret@")


@pytest.mark.parametrize(("namespace", "services"), [("", ()), ("billing", ()), ("billing", ("add", "count"))])
async def test_users_with_the_permissions_that_are_printed(
    empty_redis: PrivateRedis, namespace: str, services: tuple[str, ...]
) -> None:
    serving = await as_user(empty_redis, "server", namespace, *services)
    calling = await as_user(empty_redis, "caller", namespace, *services)
    server = RpcServer(url=serving, namespace=namespace or None)
    server.load_services({"add": add, "count": count})
    async with server.serving(), RpcClient(url=calling, namespace=namespace or None) as client:
        calls = [client.remote_call("add", (1, number), timeout=PATIENCE) for number in range(100)]
        assert await asyncio.gather(*calls) == [1 + number for number in range(100)]
        assert [item async for item in client.stream("count", 5)] == list(range(5))
        assert [reply.result async for reply in client.broadcast("add", 1, 2)] == [3]
        assert len(await client.ping(timeout=5)) == 1
        session = client._client.transport.session  # type: ignore[attr-defined]
        for command in (("KEYS", "*"), ("XRANGE", f"rpc:{namespace}:dead", "-", "+"), ("FLUSHALL",), ("GET", "other")):
            with pytest.raises(Exception, match="NOPERM"):
                await session.commands.ask(*command)
    usurper = RpcServer(url=calling, namespace=namespace or None)
    usurper.add_service(add)
    with pytest.raises(ConfigurationError, match="Redis refuses to declare"):
        await usurper.connect()
    await usurper.close()
    if services:
        async with RpcClient(url=calling, namespace=namespace or None) as client:
            with pytest.raises(ConfigurationError, match="Redis refuses requests to"):
                await client.remote_call("other", (), timeout=PATIENCE)


@pytest.mark.parametrize("role", ["caller", "server", "operator"])
async def test_doctor_finds_the_permissions_of_each_role_enough(empty_redis: PrivateRedis, role: str) -> None:
    url = await as_user(empty_redis, role)
    report = Report()
    examined = "client" if role == "caller" else role
    await RedisOperator(load_settings(url=url)).examine(Examination(role=examined), report)  # type: ignore[arg-type]
    assert report.worst is not Status.FAILURE, report.findings
    assert "permission" in {finding.check for finding in report.findings}
    if role == "operator":
        async with RedisOperator(load_settings(url=url)).dead_letters(beside_consumers=False) as letters:
            assert (await letters.list()).waiting == 0
    if role == "caller":
        report = Report()
        await RedisOperator(load_settings(url=url)).examine(Examination(role="server"), report)
        assert {f.check for f in report.findings if f.status is Status.FAILURE} == {"permission"}, report.findings


async def test_doctor_warns_of_a_server_that_loses_calls(empty_redis: PrivateRedis) -> None:
    operator = RedisOperator(load_settings(url=empty_redis.url))
    async with operator_session(load_settings(url=empty_redis.url), "test") as session:
        ask = session.commands.ask
        try:
            await ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "1gb", "appendonly", "no")
            report = Report()
            await operator.examine(Examination(), report)
        finally:
            await ask("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "0", "appendonly", "yes")
    found = {finding.subject: finding.status for finding in report.findings}
    assert found["maxmemory-policy"] is Status.FAILURE
    assert found["persistence"] is Status.WARNING
    report = Report()
    await RedisOperator(load_settings(url="redis://127.0.0.1:1/0")).examine(Examination(limit=1), report)
    assert report.worst is Status.FAILURE
    assert any("cannot reach" in finding.text for finding in report.findings)


async def test_the_commands(empty_redis: PrivateRedis) -> None:
    server = RpcServer(url=empty_redis.url)
    server.add_service(add)
    wanted = {
        "call add 1 2": "3",
        "queue list add": "rpc_async_add",
        "dead list": "0 of 0 dead letters",
        "doctor --json": '"persistence"',
    }

    async def run(command: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rabibridge", *command.split(),
            env=os.environ | {"RABIBRIDGE_URL": empty_redis.url}, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    async with server.serving():
        found = await asyncio.gather(*map(run, wanted))
    for (command, what), output in zip(wanted.items(), found, strict=True):
        assert what in output, (command, output)
    assert json.loads(found[list(wanted).index("doctor --json")])["status"] != "failure"
