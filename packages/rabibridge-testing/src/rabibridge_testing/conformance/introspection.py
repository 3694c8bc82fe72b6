"""What workers tell about themselves: control requests, which reach every worker beside all services.

Other workers may use the same broker: tests look only at their own.
"""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._protocol.control import control_key
from rabibridge_core.errors import RemoteExecutionError
from rabibridge_core.transport import ControlReceiver, Reply
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import (
    PATIENCE,
    ConformanceBase,
    Inbox,
    request_to,
    service,
    soon,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from rabibridge_core._server.server import Server
    from rabibridge_core.introspection import Pong, WorkerStatus
    from rabibridge_core.rpc import RpcClient
    from rabibridge_core.transport import ControlRequest
    from rabibridge_testing.conformance.harness import Bench, BreakConnection

__all__ = ["IntrospectionConformance"]

_AT_ONCE = 50


async def echo(number: int) -> int:
    """Return the number."""
    return number


async def _listening(bench: Bench) -> ControlReceiver:
    transport = await bench.transport()
    if not isinstance(transport, ControlReceiver):
        pytest.skip("the transport receives no control requests")
    return transport


def _names(found: Iterable[Pong], servers: Iterable[Server]) -> list[str]:
    own = {server.name for server in servers}
    return sorted(one.worker for one in found if one.worker in own)


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            pass  # it has asked the workers, and has waited for that


async def _worker(client: RpcClient, server: Server) -> WorkerStatus:
    (found,) = [worker for worker in await client.workers(timeout=PATIENCE) if worker.name == server.name]
    return found


class IntrospectionConformance(ConformanceBase):
    """``ControlReceiver``, ``client.ping``, ``client.workers`` and ``client.services``."""

    @pytest.fixture(autouse=True)
    async def receives_control(self, bench: Bench) -> None:
        """Skip the tests of a transport that receives no control requests."""
        await _listening(bench)

    async def test_a_transport_without_consumers_receives_them(self, bench: Bench) -> None:
        key, received = f"control:{bench.name()}", asyncio.Queue[tuple[int, "ControlRequest"]]()
        for number in range(2):
            receiver = await _listening(bench)
            await soon(receiver.receive_control(key, lambda request, n=number: received.put_nowait((n, request))))  # type: ignore[misc]
        caller, inbox = await bench.caller()
        request = request_to(bench.queue(), b"how are you", b"the body", headers={"trace": "abc"})
        caller.broadcast(request._replace(routing_key=key))
        assert await soon(inbox.confirms.get()) == b"how are you"
        numbers = set()
        for _ in range(2):
            number, got = await soon(received.get())
            numbers.add(number)
            assert (bytes(got.correlation_id), bytes(got.body)) == (b"how are you", b"the body")
            assert (got.content_type, got.headers["trace"]) == ("application/octet-stream", "abc")
            got.reply(Reply(b"%d" % number, "text/plain", None, {"number": number}))
        replies = [await soon(inbox.replies.get()) for _ in range(2)]
        assert numbers == {0, 1}
        assert sorted((bytes(reply.body), (reply.headers or {})["number"]) for _, reply in replies) == [
            (b"0", 0),
            (b"1", 1),
        ]
        assert received.empty()

    async def test_an_asker_that_is_gone_disturbs_nobody(self, bench: Bench) -> None:
        key, received = f"control:{bench.name()}", asyncio.Queue["ControlRequest"]()
        receiver = await _listening(bench)
        await soon(receiver.receive_control(key, received.put_nowait))
        asker = await bench.transport()
        gone = await soon(asker.open_caller(Inbox()))
        gone.broadcast(request_to(bench.queue(), b"gone")._replace(routing_key=key))
        got = await soon(received.get())
        await soon(asker.close())
        got.reply(Reply(b"nobody", None, None))
        caller, inbox = await bench.caller()
        caller.broadcast(request_to(bench.queue(), b"here")._replace(routing_key=key))
        (await soon(received.get())).reply(Reply(b"somebody", None, None))
        assert bytes((await soon(inbox.replies.get()))[1].body) == b"somebody"

    async def test_after_a_lost_connection_they_arrive_again(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        server = await bench.server(service(echo, bench.name()))
        client = await bench.rpc_client()
        assert [pong.worker for pong in await client.ping(server.name, timeout=PATIENCE)] == [server.name]
        await break_connection(server.transport)
        assert [pong.worker for pong in await client.ping(server.name, timeout=PATIENCE)] == [server.name]

    async def test_every_worker_answers_a_ping_once(self, bench: Bench) -> None:
        servers = [await bench.server(service(echo, bench.name())) for _ in range(3)]
        servers.append(await bench.server())  # without services
        client = await bench.rpc_client()
        for _ in range(3):
            pongs = await client.ping(timeout=PATIENCE)
            assert _names(pongs, servers) == sorted(server.name for server in servers)
            assert len({pong.id for pong in pongs}) == len(pongs)
            assert all(pong.pid and pong.host and abs(pong.clock_difference) < 60 for pong in pongs)
        (one,) = await client.ping(servers[1].name, timeout=PATIENCE)
        assert one.worker == servers[1].name
        (same,) = await client.ping(one.id, timeout=PATIENCE)
        assert same.worker == servers[1].name

    async def test_nobody_of_that_name(self, bench: Bench) -> None:
        client = await bench.rpc_client()
        assert await client.ping(bench.name("nobody"), timeout=0.05) == ()

    async def test_a_worker_tells_its_numbers(self, bench: Bench) -> None:
        async def fails(_: int) -> None:
            raise ValueError("not here")

        name, failing, waiting = bench.name(), bench.name(), bench.name()
        gate = Gate()
        server = await bench.server(service(echo, name), service(fails, failing), gate.service(waiting, fetch_size=2))
        client = await bench.rpc_client()
        for number in range(5):
            assert await soon(client.call(name, number)) == number
        for _ in range(2):
            with pytest.raises(RemoteExecutionError):
                await soon(client.call(failing, 1))
        calls = [asyncio.ensure_future(client.call(waiting)) for _ in range(2)]
        for _ in calls:
            await soon(gate.started.get())

        async def numbers() -> bool:
            worker = await _worker(client, server)
            found = {service.name: service for service in worker.services}
            return (
                (found[name].counts.succeeded, found[name].counts.calls) == (5, 5)
                and (found[failing].counts.failed, found[failing].counts.calls) == (2, 2)
                and (found[waiting].in_hand, found[waiting].running, worker.in_hand) == (2, 2, 2)
            )

        await _until(numbers)
        worker = await _worker(client, server)
        echoed, failed = worker.service(name), worker.service(failing)
        assert echoed is not None
        assert failed is not None
        assert (echoed.latency.count, echoed.live, echoed.failures) == (5, True, ())
        assert [(one.type, one.message, one.count) for one in failed.failures] == [
            ("builtins.ValueError", "not here", 2)
        ]
        assert "raise ValueError" in failed.failures[0].traceback
        gate.opened.set()
        await soon(asyncio.gather(*calls))

    async def test_services_are_described_and_merged(self, bench: Bench) -> None:
        name = bench.name()
        servers = [await bench.server(service(echo, name, queue_size=7)) for _ in range(2)]
        client = await bench.rpc_client()
        for number in range(4):
            await soon(client.call(name, number))

        async def merged() -> bool:
            found = (await client.services(name, timeout=PATIENCE)).get(name)
            return found is not None and found.counts.succeeded == 4

        await _until(merged)
        found = (await client.services(name, timeout=PATIENCE)).get(name, "async")
        assert found is not None
        assert (found.signature, found.doc) == ("(number: int) -> int", "Return the number.")
        assert found.schema is not None
        assert found.schema["properties"] == {"number": {"type": "integer"}}
        assert found.limits["queue_size"] == 7
        assert sorted(found.workers) == sorted(server.name for server in servers)
        assert (found.silent, found.consumers, found.waiting, found.size) == (0, 2, 0, 7)
        assert found.latency.count == 4

    async def test_many_questions_at_once_do_not_mix(self, bench: Bench) -> None:
        names = [bench.name() for _ in range(2)]
        servers = [await bench.server(service(echo, name)) for name in names]
        client = await bench.rpc_client()

        async def pinged() -> None:
            assert _names(await client.ping(timeout=PATIENCE), servers) == sorted(server.name for server in servers)

        async def described(name: str) -> None:
            (found,) = await client.services(name, timeout=PATIENCE)
            assert (found.name, len(found.workers)) == (name, 1)

        await soon(
            asyncio.gather(
                *(pinged() for _ in range(_AT_ONCE)), *(described(name) for name in names for _ in range(_AT_ONCE // 2))
            )
        )
        assert client.pending == 0

    async def test_a_function_asks_its_own_worker(self, bench: Bench) -> None:
        client = await bench.rpc_client()

        async def ask() -> list[str]:
            return [worker.name for worker in await client.workers(timeout=PATIENCE)]

        name = bench.name()
        servers = [await bench.server(service(ask, name, fetch_size=1)) for _ in range(2)]
        asked = await soon(asyncio.gather(*(client.call(name) for _ in range(6))))
        for found in asked:
            assert [one for one in sorted(found) if one in {server.name for server in servers}] == sorted(
                server.name for server in servers
            )

    async def test_a_worker_that_does_not_answer_is_deaf_and_not_dead(self, bench: Bench) -> None:
        name = bench.name()
        answering = await bench.server(service(echo, name))
        await bench.server(service(echo, name), control=False)
        client = await bench.rpc_client()
        found = await client.workers(timeout=1.0, services=[name])
        assert len([worker for worker in found if worker.name == answering.name]) <= 1  # 0, where much else runs
        (deaf,) = [service for service in found.deaf if service.name == name]
        assert (deaf.consumers, deaf.silent >= 1) == (2, True)
        assert not found.complete
        merged = (await client.services(name, timeout=1.0)).get(name, "async")
        assert merged is not None
        assert merged.silent

    async def test_garbage_is_answered_with_a_refusal(self, bench: Bench) -> None:
        server = await bench.server()
        caller, inbox = await bench.caller()
        request = request_to(bench.queue(), b"garbage", b'{"do": "dance"}')
        caller.broadcast(request._replace(routing_key=control_key(), content_type="application/json"))
        caller.broadcast(request._replace(routing_key=control_key(), correlation_id=b"more", body=b"\xff{["))
        answered: dict[bytes, bytes] = {}
        while len(answered) < 2:
            correlation_id, reply = await soon(inbox.replies.get())
            if (reply.headers or {}).get("rb-worker") == server.name:
                answered[correlation_id] = bytes(reply.body)
        assert b"refused" in answered[b"garbage"]
        assert b"refused" in answered[b"more"]
        client = await bench.rpc_client()
        assert len(await client.ping(server.name, timeout=PATIENCE)) == 1
