"""Signed and encrypted messages on a real RabbitMQ: what is in its queues, redeliveries, replays, changing keys."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiormq
import pytest

from rabibridge import ConnectionState, RemoteExecutionError, SignatureError
from rabibridge._operations.dead_letters import DeadLetters
from rabibridge._operations.operator_session import operator_session
from rabibridge._operations.worker_checks import check_workers
from rabibridge_core._security import key_ring
from rabibridge_core._security.setup import guard_from
from rabibridge_core._security.signature import SIGNATURE, VOUCHED
from tests.rabbitmq.support import Gate, until_waiting
from tests.support.waiting import soon, until
from tests.unit.signing_support import AES, HMAC, OTHER, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rabibridge import RMQServer
    from tests.rabbitmq.support import Stage

MARKER = "marker-of-an-argument"
ENCRYPTED: dict[str, Any] = {"encryption_key_id": "aes", "require_encryption": True}


def keys(stage: Stage, ring: str = f"{HMAC}\n{AES}", signing_id: str = "hmac", **options: Any) -> dict[str, Any]:
    """Return the arguments of a client or server with these keys."""
    return {"url": None, "settings": settings_of(stage.url, ring, signing_id, **options)}


async def served(stage: Stage, *functions: Any, limits: dict[str, Any] | None = None, **given: Any) -> RMQServer:
    server = stage.new_server(**given)
    for function in functions:
        server.add_service(function, **(limits or {}))
    await soon(server.connect())
    stage.start(server)
    await until(lambda: bool(server.health()))
    return server


async def echo(value: Any) -> Any:
    return value


async def fails(text: str) -> None:
    raise ValueError(text)


async def count(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


async def total(numbers: AsyncIterator[int]) -> int:
    return sum([number async for number in numbers])


async def numbers(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


@pytest.mark.parametrize("direct", [False, True])
async def test_every_kind_of_message_passes(stage: Stage, monkeypatch: pytest.MonkeyPatch, direct: bool) -> None:
    monkeypatch.setenv("RABIBRIDGE_DIRECT_REPLY", str(direct))
    gate = Gate()
    hold = gate.function()
    server = await served(stage, echo, fails, count, total, hold, **keys(stage, **ENCRYPTED))
    client = await stage.client(**keys(stage, **ENCRYPTED))
    for value in (MARKER, "x" * 1_000_000, b"\0\1" * 500_000):
        assert await soon(client.remote_call("echo", (value,))) == value
    with pytest.raises(RemoteExecutionError, match=MARKER):
        await soon(client.remote_call("fails", (MARKER,)))
    assert [item async for item in client.stream(count, 500)] == list(range(500))
    assert await soon(client.call(total, numbers(500))) == 124750
    assert [reply.result async for reply in client.broadcast(echo, 1)] == [1]
    assert len((await soon(client.workers())).workers) == 1
    await soon(client.notify(hold, 1))
    await gate.holds(1)
    gate.opened.set()
    gate.opened = asyncio.Event()
    call = asyncio.ensure_future(client.call(hold, 2))
    await gate.holds(1)
    call.cancel()
    await until(lambda: gate.cancelled == 1)
    assert server.refused_messages == client.refused_messages == {}


async def test_another_client_reads_no_argument_in_the_queue_or_among_dead_letters(
    stage: Stage, raw: aiormq.abc.AbstractChannel
) -> None:
    server = stage.new_server(**keys(stage, f"{HMAC}\n{AES}", **ENCRYPTED))
    server.add_service(echo)
    await soon(server.connect())
    client = await stage.client(**keys(stage, **ENCRYPTED))
    headers = {"tenant": MARKER}
    await soon(client.options(headers=headers).notify("echo", MARKER, text=MARKER))
    await until_waiting(stage.url, "rpc_async_echo", 1)
    waiting = await raw.basic_get("rpc_async_echo")
    assert MARKER not in repr((waiting.body, waiting.header.properties))
    assert waiting.header.properties.content_type == "application/vnd.rabibridge.encrypted"
    await raw.basic_reject(waiting.delivery_tag or 0, requeue=True)
    # This worker has not got the key: nobody waits for an answer, so the request is put aside as it is.
    await served(stage, echo, **keys(stage, f"{OTHER}\n{AES}", "other", **ENCRYPTED))
    await until_waiting(stage.url, "rpc.dead", 1)
    dead = await raw.basic_get("rpc.dead")
    assert dead.body == waiting.body
    assert MARKER not in repr((dead.body, dead.header.properties))
    assert "'hmac' is not in the key ring" in str((dead.header.properties.headers or {})["rb-dead-reason"])


@pytest.mark.parametrize("options", [{}, ENCRYPTED])
async def test_a_letter_is_signed_anew_when_it_is_requeued(
    stage: Stage, raw: aiormq.abc.AbstractChannel, options: dict[str, Any]
) -> None:
    ran: asyncio.Queue[str] = asyncio.Queue()

    async def run(text: str) -> None:
        await ran.put(text)

    # This worker has not got the key, so that the request is put aside.
    server = await served(stage, run, **keys(stage, f"{OTHER}\n{AES}", "other", **options))
    client = await stage.client(**keys(stage, **options))
    await soon(client.options(timeout=600, headers={"tenant": "a"}).notify("run", MARKER))
    await until_waiting(stage.url, "rpc.dead", 1)
    await soon(server.close())
    letter = await raw.basic_get("rpc.dead")
    await raw.basic_reject(letter.delivery_tag or 0, requeue=True)
    server = await served(stage, run, **keys(stage, f"{HMAC}\n{OTHER}\n{AES}", **options))
    # The letter has run here once, so that this worker drops its copies.
    await raw.basic_publish(
        letter.body, exchange="rpc", routing_key="async_run", properties=_as_sent(letter.header.properties)
    )
    assert await soon(ran.get()) == MARKER
    await raw.basic_publish(
        letter.body, exchange="rpc", routing_key="async_run", properties=_as_sent(letter.header.properties)
    )
    await until(lambda: server.refused_messages == {"replayed": 1})
    forged: Any = {**dict(letter.header.properties), "correlation_id": "forged", "user_id": None}
    await raw.basic_publish(letter.body, routing_key="rpc.dead", properties=aiormq.spec.Basic.Properties(**forged))
    await until_waiting(stage.url, "rpc.dead", 2)
    given = keys(stage, f"{HMAC}\n{OTHER}\n{AES}", "other", **options)["settings"]
    async with operator_session(given, "test") as session:
        report = await soon(DeadLetters(session, guard=guard_from(given, "operator")).requeue())
    assert await soon(ran.get()) == MARKER
    assert len(report.requeued) == 1
    ((_, reason),) = report.refused
    assert reason.startswith("it cannot be signed anew: the signature with the key 'hmac' is wrong")
    assert server.refused_messages == {"replayed": 1}
    assert ran.empty()


def _as_sent(properties: Any) -> aiormq.spec.Basic.Properties:
    """Return the properties of a dead letter without its death."""
    headers = {name: value for name, value in properties.headers.items() if not name.startswith("rb-dead-")}
    return aiormq.spec.Basic.Properties(**{**dict(properties), "headers": headers, "user_id": None})


async def test_what_no_sender_of_ours_sends_is_refused_and_ends_nothing(
    stage: Stage, raw: aiormq.abc.AbstractChannel
) -> None:
    server = await served(stage, echo, **keys(stage))
    for number, odd in enumerate(([1], None, {"a": [1]}, datetime(2026, 1, 1, tzinfo=UTC))):
        headers: Any = {SIGNATURE: "1 hmac s 1 1 - async_echo AAAA", "odd": odd}
        properties = aiormq.spec.Basic.Properties(headers=headers, content_type="application/json")
        await raw.basic_publish(b"[[],{}]", exchange="rpc", routing_key="async_echo", properties=properties)
        await until(lambda expected=number + 1: server.refused_messages == {"signature": expected})  # type: ignore[misc]
    assert await soon((await stage.client(**keys(stage))).remote_call("echo", (1,))) == 1


async def test_workers_tell_the_ids_of_their_keys_and_doctor_warns_of_a_wrong_order(stage: Stage) -> None:
    early = keys(stage, f"{HMAC}\n{OTHER}\n{AES}", "other", encryption_key_id="aes")
    await served(stage, echo, **early, name="early")
    late = stage.new_server(**keys(stage, HMAC), name="late")
    late.add_service(echo)
    await soon(late.connect())
    stage.start(late)
    await until(lambda: bool(late.health()))
    both = keys(stage, f"{HMAC}\n{OTHER}\n{AES}")
    client = await stage.client(**both)
    told = {one.name: (one.signing_key, one.accepted_keys, one.encryption_key) for one in await soon(client.workers())}
    assert told == {"early": ("other", ("hmac", "other", "aes"), "aes"), "late": ("hmac", ("hmac",), "")}
    async with operator_session(both["settings"], "test") as session:
        findings = [one for one in await soon(check_workers(session, both["settings"], 5.0)) if one.check == "keys"]
    assert [(one.status.value, one.text) for one in findings] == [
        ("warning", "does not accept the key 'other', with which early signs"),
        ("warning", "does not accept the key 'aes', with which early encrypts"),
    ]
    assert all(one.subject.startswith("late on ") for one in findings)


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_what_the_broker_delivers_again_runs_again(stage: Stage, queue_type: str) -> None:
    gate = Gate()
    hold = gate.function()
    limits = {"redelivery_limit": 9, "queue_type": queue_type}
    server = await served(stage, hold, limits=limits, **keys(stage))
    client = await stage.client(**keys(stage))
    call = asyncio.ensure_future(client.options(timeout=600).call(hold, 7))
    transport: Any = server._transport
    for _ in range(3):
        assert await gate.holds(1) == [7]
        await until(lambda: transport.state is ConnectionState.READY)
        transport._inner.abort()
    assert await gate.holds(1) == [7]
    gate.opened.set()
    assert await soon(call) == 7
    assert server.refused_messages == {}


async def test_a_replay_and_a_copy_that_no_worker_has_made_do_not_run(
    stage: Stage, raw: aiormq.abc.AbstractChannel
) -> None:
    server = stage.new_server(**keys(stage))
    runs: list[int] = []

    async def run(value: int) -> int:
        runs.append(value)
        return value

    server.add_service(run)
    await soon(server.connect())
    client = await stage.client(**keys(stage))
    call = asyncio.ensure_future(client.options(timeout=600).remote_call("run", (1,)))
    await until_waiting(stage.url, "rpc_async_run", 1)
    captured = await raw.basic_get("rpc_async_run")
    properties: Any = captured.header.properties
    await raw.basic_reject(captured.delivery_tag or 0, requeue=False)
    other = aiormq.spec.Basic.Properties(**{**dict(properties), "reply_to": "amq.gen-of-somebody-else"})
    await raw.basic_publish(captured.body, exchange="rpc", routing_key="async_run", properties=other)
    stage.start(server)
    await until(lambda: server.refused_messages == {"signature": 1})
    await raw.basic_publish(captured.body, exchange="rpc", routing_key="async_run", properties=properties)
    assert await soon(call) == 1
    await raw.basic_publish(captured.body, exchange="rpc", routing_key="async_run", properties=properties)
    await until(lambda: server.refused_messages == {"signature": 1, "replayed": 1})
    for headers in ({"rb-deliveries": 1}, {"rb-deliveries": 1, VOUCHED: (properties.headers or {})[SIGNATURE]}):
        forged: Any = {**dict(properties), "headers": {**(properties.headers or {}), **headers}}
        await raw.basic_publish(
            captured.body, routing_key="rpc_async_run", properties=aiormq.spec.Basic.Properties(**forged)
        )
    await until(lambda: server.refused_messages == {"signature": 1, "replayed": 3, "copy": 2})
    assert await soon(client.remote_call("run", (2,))) == 2
    assert runs == [1, 2]


async def test_keys_change_without_a_lost_call(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_ring, "_LOOK_EVERY", 0.0)
    file = tmp_path / "keys"

    def write(*lines: str) -> None:
        new = tmp_path / "new"
        new.write_text("\n".join(lines))
        new.chmod(0o600)
        new.replace(file)

    def ring(signing_id: str) -> dict[str, Any]:
        return keys(stage, None, signing_id, key_ring=str(file))  # type: ignore[arg-type]

    write(HMAC)
    servers = [await served(stage, echo, **ring("hmac"))]
    clients = [await stage.client(**ring("hmac"))]
    answered, stop = 0, False

    async def call_on() -> None:
        nonlocal answered
        while not stop:
            assert await clients[-1].remote_call("echo", (answered,)) == answered
            answered += 1

    async def more() -> None:
        goal = answered + 20
        await until(lambda: answered >= goal or caller.done())

    caller = asyncio.create_task(call_on())
    await more()
    write(HMAC, OTHER)  # accepted everywhere
    await more()
    servers.append(await served(stage, echo, **ring("other")))  # one after the other signs with it
    await soon(servers[0].close())
    await more()
    clients.append(await stage.client(**ring("other")))
    await more()
    write(OTHER)  # and the old one goes
    await more()
    stop = True
    await soon(caller)
    assert [each.refused_messages for each in (*servers, *clients)] == [{}] * 4
    with pytest.raises(SignatureError, match="require_signature"):
        await soon((await stage.client()).remote_call("echo", (1,)))
