"""Each role does all of its work with exactly the permissions that are printed for it, and names each that is missing.

The commands that ``rabibridge permissions`` prints are given to a real broker as they are.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiormq
import pytest
from yarl import URL

from rabibridge import ConfigurationError, RMQServer, current_call
from rabibridge._operations.dead_letters import DeadLetters
from rabibridge._operations.doctor import examine
from rabibridge._operations.operator_session import operator_session
from rabibridge._operations.permission_sets import names_in, permission_set
from rabibridge._operations.service_queues import OperatedQueues
from rabibridge_core.operations import Examination
from rabibridge_core.operations.findings import Report, Status
from rabibridge_core.settings import load_settings
from tests.rabbitmq.every_shape import every_shape, offer
from tests.rabbitmq.grants import Grants
from tests.rabbitmq.operators import packed
from tests.support.broadcasts import all_results
from tests.support.waiting import PATIENCE, soon, until

if TYPE_CHECKING:
    from rabibridge._operations.permission_sets import PermissionRole
    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.users import Users
    from tools.broker import Broker

ROOT = Path(__file__).parents[2]
NAMESPACES = pytest.mark.parametrize("namespace", ["", "billing"], ids=["no namespace", "namespace"])


@pytest.fixture
def namespace() -> str:
    """The namespace of the test, where it does not say another."""
    return "billing"


@pytest.fixture
def grants(governed: Broker, users: Users, vhost_url: str, namespace: str, tmp_path: Path) -> Grants:
    return Grants(governed, users, vhost_url, namespace, tmp_path)


def _options(namespace: str) -> dict[str, Any]:
    return {"namespace": namespace} if namespace else {}


async def _served(stage: Stage, url: str, namespace: str) -> Any:
    """Serve one service of each shape."""
    server = stage.new_server(url=url, **_options(namespace))
    offered = offer(server, f"{secrets.token_hex(4)}.v-1")
    await soon(server.connect())
    stage.start(server)
    return offered


@NAMESPACES
@pytest.mark.parametrize("direct", [False, True], ids=["own queue", "direct reply-to"])
async def test_a_caller_and_a_server_need_no_more(
    stage: Stage, grants: Grants, namespace: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = await _served(stage, await grants.user("server"), namespace)
    monkeypatch.setenv("RABIBRIDGE_DIRECT_REPLY", str(direct))
    caller = await grants.user("caller", direct_reply=direct)
    await every_shape(await stage.client(url=caller, **_options(namespace)), offered)


async def test_both_may_be_limited_to_some_services(stage: Stage, grants: Grants, namespace: str) -> None:
    end = f"{secrets.token_hex(4)}.v-1"
    names = [f"{name}_{end}" for name in ("value", "blocking", "hangs", "note", "items", "total")]
    url = await grants.user("server", names)
    server = stage.new_server(url=url, namespace=namespace)
    offered = offer(server, end)
    assert offered.names == names
    await soon(server.connect())
    stage.start(server)
    other = (await _served(stage, stage.url, namespace)).names[0]

    limited = await stage.client(url=await grants.user("caller", names), namespace=namespace)
    await every_shape(limited, offered, introspection=False)
    kept = asyncio.ensure_future(limited.options(timeout=PATIENCE, idempotent=True).call(names[0], "kept"))
    for kind in ("async", "any"):
        with pytest.raises(ConfigurationError) as refused:
            await soon(limited.remote_call(other, (1,), ftype=kind, timeout=PATIENCE))
        for told in (other, "set_topic_permissions", "'billing:rpc'", grants.vhost):
            assert str(told) in str(refused.value)
    assert await soon(kept) == "kept"
    for ask in (limited.ping, limited.services, limited.workers):
        with pytest.raises(ConfigurationError, match="cancel:control"):
            await soon(ask(timeout=PATIENCE))
    with pytest.raises(ConfigurationError, match=other):
        await soon(limited.options(timeout=PATIENCE).notify(other, 1))
    with pytest.raises(ConfigurationError, match=other):
        await soon(all_results(limited.options(timeout=PATIENCE).broadcast(other, 1)))
    await every_shape(limited, offered, introspection=False)
    asker = await stage.client(url=await grants.user("caller", names, introspection=True), namespace=namespace)
    assert len(await soon(asker.ping(timeout=PATIENCE))) == 2


async def test_a_server_of_some_services_serves_no_others(
    stage: Stage, grants: Grants, namespace: str, vhost_url: str
) -> None:
    url = await grants.user("server", ["add"])
    server = RMQServer(url=url, namespace=namespace)
    server.add_service(_echo, name="payroll")
    with pytest.raises(ConfigurationError, match="billing:rpc_async_payroll"):
        await soon(server.connect())
    await server.close()
    for exchange, key in (
        ("billing:rpc", "async_payroll"),
        ("billing:rpc", "any:payroll"),
        ("billing:rpc", "cancel:async_payroll"),
        ("billing:rpc", "#"),
        ("billing:rpc_any", "any:payroll"),
        ("billing:rpc_any_sync", "#"),
    ):
        async with await aiormq.connect(url) as connection:
            channel = await connection.channel()
            own = (await channel.queue_declare("", exclusive=True)).queue
            with pytest.raises(aiormq.exceptions.ChannelAccessRefused, match="access to topic"):
                await channel.queue_bind(str(own), exchange, key)


async def _echo(given: Any) -> Any:
    return given


@NAMESPACES
async def test_an_operator_needs_no_more(stage: Stage, grants: Grants, namespace: str, raw: Any) -> None:
    offered = await _served(stage, stage.url, namespace)
    names, service = grants.names, f"rpc_async_{offered.names[0]}"
    await raw.queue_declare(names.dead_letters, durable=True, arguments=names.dead_letters_arguments)

    async def add_letter() -> None:
        headers: Any = {"rb-dead-queue": names.queue(service), "rb-dead-reason": "a test"}
        properties = aiormq.spec.Basic.Properties(headers=headers, content_type="application/msgpack")
        await raw.basic_publish(packed([[1], {}]), routing_key=names.dead_letters, properties=properties)

    await add_letter()
    settings = load_settings(url=await grants.user("operator", offered.names[:1]), namespace=namespace or None)
    report = Report()
    await examine(settings, Examination(role="operator", limit=PATIENCE), report)
    found = {(one.check, one.subject): one.status for one in report.findings}
    assert {key for key, status in found.items() if status is not Status.OK} == {
        ("dead letters", grants.names.dead_letters)
    }
    assert ("permission", f"operator: read {grants.names.dead_letters!r}") in found
    async with operator_session(settings, "test") as session:
        letters = DeadLetters(session)
        (letter,) = (await letters.list()).letters
        assert [one.id for one in (await letters.requeue(timeout=PATIENCE)).requeued] == [letter.id]
        await add_letter()
        assert await letters.purge() == 1
        queues = OperatedQueues(session)
        (state,) = await queues.find(offered.names[:1])
        await queues.purge(state.name)
        with pytest.raises(ConfigurationError, match=grants.names.queue("rpc_async_other")):
            await queues.purge(grants.names.queue("rpc_async_other"))


async def test_an_operator_vouches_in_its_namespace_and_nowhere_else(
    stage: Stage, grants: Grants, namespace: str, raw: Any
) -> None:
    url, users = await grants.user("operator"), list[str]()
    operator = str(URL(url).user)

    async def guarded() -> None:
        users.append(current_call().user)

    for where in (namespace, "payroll"):
        server = stage.new_server(namespace=where)
        server.add_service(guarded, name="guarded", allow=(operator,))
        await soon(server.connect())
        stage.start(server)
        names = names_in(where)
        await raw.queue_declare(names.dead_letters, durable=True, arguments=names.dead_letters_arguments)
        headers: Any = {"rb-dead-queue": names.queue("rpc_async_guarded"), "rb-dead-reason": "a test"}
        properties = aiormq.spec.Basic.Properties(headers=headers, content_type="application/msgpack")
        await raw.basic_publish(packed([[], {}]), routing_key=names.dead_letters, properties=properties)
    async with operator_session(load_settings(url=url, namespace=namespace), "test") as session:
        report = await DeadLetters(session).requeue(timeout=PATIENCE, vouch=True)
        await until(lambda: users == [operator] and len(report.requeued) == 1)
    with pytest.raises(ConfigurationError, match=r"payroll:rpc\.dead"):
        async with operator_session(load_settings(url=url, namespace="payroll"), "test") as session:
            await DeadLetters(session).requeue(timeout=PATIENCE, vouch=True)
    assert users == [operator]


async def test_a_doctor_names_routing_keys_that_are_missing(grants: Grants, namespace: str) -> None:
    server = RMQServer(url=await grants.user("server", ["add"]), namespace=namespace)
    queues = [server.add_service(_echo, name=name).queue for name in ("add", "payroll")]
    report = Report()
    await examine(server.settings, Examination(role="server", queues=queues, limit=PATIENCE), report)
    assert {one.subject for one in report.findings if "routing key" in one.subject} == {
        f"server: routing key {prefix + key!r}"
        for prefix in ("", "cancel:")
        for key in ("async_payroll", "any:payroll")
    }


async def test_each_permission_that_a_server_lacks_is_named(
    grants: Grants, users: Users, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = permission_set("server", grants.names).permissions
    for kind, part, named in (  # first those that matter only as long as the exchanges do not exist
        ("configure", "billing:rpc", "'billing:rpc'"),
        ("configure", "billing:rpc_any_sync", "'billing:rpc_any_sync'"),
        ("configure", "billing:rpc_any", "'billing:rpc_any'"),
        ("write", "billing:rpc_any_sync", "'billing:rpc_any_sync'"),
        ("configure", "billing:rpc_(async|sync)_.*", "billing:rpc_async_"),
        ("configure", r"amq\.gen.*", "amq.gen-"),
        ("write", "billing:rpc_(async|sync)_.*", "billing:rpc_async_"),
        ("write", r"amq\.gen.*", "amq.gen-"),
        ("write", r"amq\.default", "'amq.default'"),
        ("write", "billing:rpc_any", "'billing:rpc_any'"),
        ("read", "billing:rpc_(async|sync)_.*", "billing:rpc_async_"),
        ("read", r"amq\.gen.*", "amq.gen-"),
        ("read", "billing:rpc", "'billing:rpc'"),
        ("read", "billing:rpc_any", "'billing:rpc_any'"),
        ("read", "billing:rpc_any_sync", "'billing:rpc_any_sync'"),
    ):
        parts = f"|{getattr(whole, kind)[2:-2]}|"
        assert f"|{part}|" in parts
        less = parts.replace(f"|{part}|", "|", 1).strip("|")
        url = await users.add(*whole._replace(**{kind: f"^({less})$"}))
        caplog.clear()
        server = RMQServer(url=url, namespace=namespace)
        offered = offer(server, secrets.token_hex(4))
        told = ""
        try:
            await soon(server.connect())
            serving = asyncio.ensure_future(server.run_serve())
            await asyncio.wait((serving,), timeout=1)
        except ConfigurationError as error:
            told = str(error)
        else:
            await server.close()
            try:
                await soon(serving)
            except ConfigurationError as error:
                told = str(error)
        finally:
            await server.close()
        assert named in told + caplog.text, (kind, part, offered)


def test_the_definitions_to_deploy_have_these_sets() -> None:
    definitions = json.loads((ROOT / "deploy/rabbitmq/definitions.json").read_text(encoding="utf-8"))
    found = {one["user"]: one for one in definitions["permissions"]}
    roles: tuple[PermissionRole, ...] = ("server", "caller")
    for role in roles:
        assert [found[role]] == permission_set(role, names_in("")).to_json(role, "calls")["permissions"]
