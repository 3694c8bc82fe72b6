"""Who may call a service: the users that it allows, and what a policy admits."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._protocol.headers import ERROR_KIND
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.offers import schemas_of
from rabibridge_core.errors import AccessDeniedError
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, request_to, service, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rabibridge_core.rpc import RpcClient
    from rabibridge_core.transport import Headers
    from rabibridge_testing.conformance.harness import Bench, TransportOf

__all__ = ["AccessConformance"]


class _Ran(list[str]):
    """The functions that ran."""

    def echo(self) -> Callable[..., Any]:
        async def echo(value: str) -> str:
            self.append(value)
            return value

        return echo

    def items(self) -> Callable[..., Any]:
        async def items(value: str) -> AsyncIterator[str]:
            self.append(value)
            yield value

        return items

    def counting(self) -> Callable[..., Any]:
        async def count(value: str, numbers: AsyncIterator[int]) -> int:
            self.append(value)
            return len([number async for number in numbers])

        return count


async def _numbers() -> AsyncIterator[int]:
    for number in range(3):
        yield number


class AccessConformance(ConformanceBase):
    """``allow=`` of services, and policies. A transport that knows no users needs no fixture for it."""

    @pytest.fixture
    async def alice(self, bench: Bench, transport_of: TransportOf) -> RpcClient:
        """Provide a client of a user that services allow."""
        return await bench.rpc_client(await transport_of("alice"))

    @pytest.fixture
    async def bob(self, bench: Bench, transport_of: TransportOf) -> RpcClient:
        """Provide a client of another user."""
        return await bench.rpc_client(await transport_of("bob"))

    async def test_others_are_refused_with_the_name_of_the_service_and_their_own(
        self, bench: Bench, alice: RpcClient, bob: RpcClient
    ) -> None:
        ran, name = _Ran(), bench.name()
        await bench.server(service(ran.echo(), name, allow=("alice",)))
        assert await soon(alice.remote_call(name, ("a",), timeout=PATIENCE)) == "a"
        with pytest.raises(AccessDeniedError) as denied:
            await soon(bob.remote_call(name, ("b",), timeout=PATIENCE))
        error = denied.value
        assert str(error) == f"the user 'bob' may not call {name!r}"
        assert (error.func_name, error.executed, ran) == (name, False, ["a"])

    async def test_who_is_not_known_is_refused_where_users_are_named_and_nowhere_else(
        self, bench: Bench, transport_of: TransportOf
    ) -> None:
        ran, name, open_to_all = _Ran(), bench.name(), bench.name()
        await bench.server(service(ran.echo(), name, allow=("alice",)), service(ran.echo(), open_to_all))
        nobody = await bench.rpc_client(await transport_of(""))
        with pytest.raises(AccessDeniedError, match="nobody vouches for the user of this call") as denied:
            await soon(nobody.remote_call(name, ("n",), timeout=PATIENCE))
        assert "alice" not in str(denied.value)
        assert await soon(nobody.remote_call(open_to_all, ("n",), timeout=PATIENCE)) == "n"

    async def test_they_are_refused_before_the_body_is_read(self, bench: Bench, transport_of: TransportOf) -> None:
        ran, name = _Ran(), bench.name()
        server = await bench.server(service(ran.echo(), name, allow=("alice",)))
        schema = server.registry.get(name)
        assert schema is not None
        transport = await transport_of("bob")
        await soon(transport.connect())
        caller, inbox = await bench.caller(transport)
        caller.send(request_to(schema.queue, b"1", b"\xff no format \xff", timeout=PATIENCE))
        _, reply = await soon(inbox.replies.get())
        assert reply.headers is not None
        assert reply.headers[ERROR_KIND] == "denied"
        await transport.close()

    async def test_every_way_to_call(self, bench: Bench, alice: RpcClient, bob: RpcClient) -> None:
        ran = _Ran()
        echo, items, count = (bench.name() for _ in range(3))
        allow = ("alice",)
        await bench.server(
            service(ran.echo(), echo, allow=allow, idempotent=True),
            service(ran.items(), items, allow=allow),
            service(ran.counting(), count, allow=allow),
        )
        patient = [client.options(timeout=PATIENCE) for client in (alice, bob)]
        a, b = patient
        assert await soon(a.options(idempotency_key="k").remote_call(echo, ("keyed",))) == "keyed"
        assert [item async for item in a.stream(items, "stream")] == ["stream"]
        assert await soon(a.call(count, "upload", _numbers())) == 3
        assert [reply.result async for reply in a.broadcast(echo, "broadcast")] == ["broadcast"]
        before = list(ran)
        with pytest.raises(AccessDeniedError):
            await soon(b.options(idempotency_key="k").remote_call(echo, ("keyed",)))
        with pytest.raises(AccessDeniedError):
            [item async for item in b.stream(items, "stream")]
        with pytest.raises(AccessDeniedError):
            await soon(b.call(count, "upload", _numbers()))
        async for reply in b.broadcast(echo, "broadcast"):
            assert isinstance(reply.error, AccessDeniedError)
        await soon(b.notify(echo, "dropped"))
        await soon(a.notify(echo, "kept"))
        assert await soon(a.remote_call(echo, ("last",))) == "last"
        assert [one for one in ran if one not in before] == ["kept", "last"]

    async def test_a_policy_decides_by_service_user_and_headers(
        self, bench: Bench, alice: RpcClient, bob: RpcClient
    ) -> None:
        ran, name, other = _Ran(), bench.name(), bench.name()
        asked: list[tuple[str, str, object]] = []

        async def policy(service: str, user: str, headers: Headers) -> bool:
            asked.append((service, user, headers.get("token")))
            if headers.get("token") == "broken":
                raise RuntimeError("no database")
            return headers.get("token") == "secret"

        await bench.server(service(ran.echo(), name), service(ran.echo(), other, allow=("alice",)), policy=policy)
        with_token = bob.options(timeout=PATIENCE, headers={"token": "secret"})
        assert await soon(with_token.remote_call(name, ("b",))) == "b"
        for client in (bob.options(timeout=PATIENCE, headers={"token": "broken"}), alice.options(timeout=PATIENCE)):
            with pytest.raises(AccessDeniedError, match="may not call"):
                await soon(client.remote_call(name, ("x",)))
        assert asked == [(name, "bob", "secret"), (name, "bob", "broken"), (name, "alice", None)]
        with pytest.raises(AccessDeniedError):  # both must admit it
            await soon(with_token.remote_call(other, ("x",)))
        assert ran == ["b"]

    async def test_who_may_call_can_change_while_it_is_served(
        self, bench: Bench, alice: RpcClient, bob: RpcClient
    ) -> None:
        ran, name = _Ran(), bench.name()
        function = ran.echo()
        server = await bench.server(service(function, name, allow=("alice",)))
        await soon(server.change([], [service(function, name, allow=["bob"])]))
        with pytest.raises(AccessDeniedError):
            await soon(alice.remote_call(name, ("a",), timeout=PATIENCE))
        assert await soon(bob.remote_call(name, ("b",), timeout=PATIENCE)) == "b"

    async def test_methods_of_a_class(self, bench: Bench, alice: RpcClient, bob: RpcClient) -> None:
        ran, first = _Ran(), bench.name("Accounts")

        class Accounts:
            async def balance(self) -> str:
                ran.append("balance")
                return "balance"

        (schema,) = schemas_of(Accounts().balance, ServiceLimits(allow={"alice"}), f"{first}.balance")
        await bench.server(schema)
        assert await soon(alice.remote_call(schema.name, timeout=PATIENCE)) == "balance"
        with pytest.raises(AccessDeniedError):
            await soon(bob.remote_call(schema.name, timeout=PATIENCE))
        assert ran == ["balance"]

    async def test_nobody_hears_of_services_that_it_may_not_call(
        self, bench: Bench, alice: RpcClient, bob: RpcClient
    ) -> None:
        ran, shown, hidden = _Ran(), bench.name(), bench.name()

        async def failing() -> None:
            raise ValueError("a secret of the hidden service")

        server = await bench.server(service(ran.echo(), shown), service(failing, hidden, allow=("alice",)))
        with pytest.raises(Exception, match="a secret"):
            await soon(alice.remote_call(hidden, timeout=PATIENCE))
        for client, visible in ((alice, {shown, hidden}), (bob, {shown})):
            services = await soon(client.services(timeout=PATIENCE))
            assert {each.name for each in services} & {shown, hidden} == visible
            (worker,) = [one for one in await soon(client.workers(timeout=PATIENCE)) if one.name == server.name]
            assert {each.name for each in worker.services} == visible
            assert ("a secret" in repr(worker)) == (hidden in visible)
            assert server.name in {pong.worker for pong in await soon(client.ping(timeout=PATIENCE))}
        for found in await soon(bob.services(hidden, timeout=0.5)):  # the broker says that the queue is there
            assert (found.signature, found.doc, found.failures, found.problems) == ("", "", (), {})

    async def test_a_slow_policy_ends_with_the_time_of_the_call(self, bench: Bench, alice: RpcClient) -> None:
        ran, name, began = _Ran(), bench.name(), asyncio.Event()

        async def policy(service: str, user: str, headers: Headers) -> bool:
            began.set()
            await asyncio.Event().wait()
            return True

        await bench.server(service(ran.echo(), name), policy=policy)
        with pytest.raises(TimeoutError):
            await soon(alice.remote_call(name, ("a",), timeout=2))
        assert began.is_set()
        assert ran == []
