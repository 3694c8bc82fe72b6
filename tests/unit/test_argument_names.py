"""Parameters of functions may have any name, also one that the functions which pass arguments on use themselves."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, create_autospec

import pytest

from rabibridge_core import current_call, register_call
from rabibridge_core._services.interface import service
from rabibridge_core.rpc import RpcClient, RpcServer, SyncRpcClient
from rabibridge_core.schemas import InterfaceDescription
from tests.schemas.support import loaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_testing import FakeBroker

NAMES = (
    "self", "cls", "fn", "func", "function", "name", "args", "kwargs", "timeout", "service", "client", "target",
    "options", "headers", "retry", "kind", "idempotent", "persistent", "criticality", "validate", "executor", "request",
    "call", "effect", "mock", "callback",
)  # fmt: skip
GIVEN: dict[str, Any] = {name: number for number, name in enumerate(NAMES)}


def _made(kind: str, function: str, body: str) -> Any:
    parameters = ", ".join(f"{name}: int" for name in NAMES)
    source = f"{kind} {function}({parameters}):\n    {body}"
    return loaded(source, "functions_with_awkward_parameters")[function]


ECHO = _made("async def", "echo", "return dict(locals())")
BLOCKING = _made("def", "blocking", "return dict(locals())")
STREAMING = _made("async def", "streaming", "yield dict(locals())")
THREADED = _made("def", "threaded", "yield dict(locals())")


@service(name="group")
class Group:
    async def every(
        self, cls: int, func: int, name: int, args: int, kwargs: int, timeout: int, client: int
    ) -> list[int]:
        return [cls, func, name, args, kwargs, timeout, client]


def _serve(broker: FakeBroker) -> None:
    for function in (ECHO, BLOCKING, STREAMING, THREADED):
        broker.add_service(function)


@pytest.mark.parametrize("function", [ECHO, BLOCKING, "echo"], ids=["async", "in a thread", "by name"])
async def test_calls(fake_broker: FakeBroker, function: Any) -> None:
    _serve(fake_broker)
    text = function if isinstance(function, str) else function.__name__
    async with RpcClient() as client:
        for calls in (client, client.options(timeout=5)):
            assert await calls.call(function, **GIVEN) == GIVEN
            assert await calls.stub(function, timeout=5)(**GIVEN) == GIVEN
            assert await calls.remote_call(text, (), GIVEN, "any") == GIVEN
            assert (await calls.try_remote_call(text, (), GIVEN, "any"))[1][1] == GIVEN
            assert [one async for one in calls.starmap(function, [tuple(range(len(NAMES)))])] == [GIVEN]
            assert [one.result async for one in calls.broadcast(function, **GIVEN)] == [GIVEN]
            await calls.notify(function, **GIVEN)
            fake_broker.assert_called_with(function, **GIVEN)
            fake_broker.assert_any_call(function, **GIVEN)


@pytest.mark.parametrize("function", [STREAMING, THREADED, "streaming"], ids=["async", "in a thread", "by name"])
async def test_streams(fake_broker: FakeBroker, function: Any) -> None:
    _serve(fake_broker)
    async with RpcClient() as client:
        assert [one async for one in client.stream(function, **GIVEN)] == [GIVEN]
        assert [one async for one in client.options(timeout=5).stream(function, **GIVEN)] == [GIVEN]
        if not isinstance(function, str):
            assert [one async for one in client.stub(function)(**GIVEN)] == [GIVEN]


def test_the_synchronous_client(fake_broker: FakeBroker) -> None:
    _serve(fake_broker)
    with SyncRpcClient() as client:
        for function in (ECHO, BLOCKING, "echo"):
            assert client.call(function, **GIVEN) == GIVEN
            assert client.stub(function)(**GIVEN) == GIVEN
            assert list(client.starmap(function, [tuple(range(len(NAMES)))])) == [GIVEN]
            assert [one.result for one in client.broadcast(function, **GIVEN)] == [GIVEN]
            client.notify(function, **GIVEN)
        assert client.remote_call("echo", (), GIVEN, "any") == GIVEN
        assert list(client.stream(STREAMING, **GIVEN)) == [GIVEN]
        assert list(client.stub(STREAMING)(**GIVEN)) == [GIVEN]


async def test_methods_of_a_service(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(Group())
    given = {name: number for number, name in enumerate(("cls", "func", "name", "args", "kwargs", "timeout", "client"))}
    async with RpcClient() as client:
        assert await client.service(Group, timeout=5).every(**given) == list(given.values())


@pytest.mark.parametrize("given", [ECHO, "echo"], ids=["of a function", "of a name"])
async def test_stubs_of_the_fake(fake_broker: FakeBroker, given: Any) -> None:
    stub = fake_broker.stub(given, returns=GIVEN)
    async with RpcClient() as client:
        assert await client.call(given, **GIVEN) == GIVEN
        stub.assert_called_with(**GIVEN)
        stub.assert_called_once_with(**GIVEN)
        stub.assert_any_call(**GIVEN)
        stub.side_effect(ECHO)
        assert await client.call(given, **GIVEN) == GIVEN


async def test_stubs_of_streams_and_mocks_in_the_fake(fake_broker: FakeBroker) -> None:
    fake_broker.stub(STREAMING, returns=[GIVEN])
    fake_broker.add_service(AsyncMock(return_value=1), name="mocked")
    fake_broker.add_service(create_autospec(ECHO, return_value=2), name="specified")
    fake_broker.add_service(functools.partial(ECHO, self=0), name="part")
    rest = {name: value for name, value in GIVEN.items() if name != "self"}
    async with RpcClient() as client:
        assert [one async for one in client.stream(STREAMING, **GIVEN)] == [GIVEN]
        assert await client.call("mocked", **GIVEN) == 1
        assert await client.call("specified", **GIVEN) == 2
        assert await client.call("part", **rest) == GIVEN


async def test_functions_that_pass_arguments_on(fake_broker: FakeBroker) -> None:
    @register_call
    async def passing() -> list[Any]:
        call = current_call()
        return [await call.run_in_thread(BLOCKING, **GIVEN), await call.run_in_executor(None, BLOCKING, **GIVEN)]

    fake_broker.add_service(passing)
    async with RpcClient() as client:
        assert await client.call(passing) == [GIVEN, GIVEN]


async def test_a_generated_module(fake_broker: FakeBroker) -> None:
    _serve(fake_broker)
    server = RpcServer(url="memory://described")
    for function in (ECHO, STREAMING):
        server.add_service(function)
    names = loaded(InterfaceDescription.of_server(server.services).client_module("test"))

    async def given(stream: AsyncIterator[Any]) -> list[Any]:
        return [one async for one in stream]

    async with RpcClient() as client:
        assert await client.call(names["echo"], **GIVEN) == GIVEN
        assert await client.call(names["echo"], *GIVEN.values()) == GIVEN
        assert await given(client.stream(names["streaming"], **GIVEN)) == [GIVEN]
