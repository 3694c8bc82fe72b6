"""Checked by mypy and pyright, never run: registering a function changes nothing about its type."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, assert_type

from rabibridge import (
    ConnectionState,
    CurrentCall,
    Delivery,
    FunctionKind,
    Headers,
    Health,
    QueueFullError,
    QueueType,
    RetryRefused,
    RMQBase,
    RMQClient,
    RMQServer,
    ServiceSchema,
    current_call,
    register_call,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


@register_call
def bare(number: int, *, text: str = "") -> float:
    return number * len(text)


@register_call()
def called(number: int) -> str:
    return str(number)


@register_call(queue_size=10, fetch_size=2, timeout=1.5, validate=True, re_register=True)
async def limited(first: int, /, *rest: str) -> list[str]:
    return [*rest, str(first)]


@register_call(delivery="at-most-once", redelivery_limit=3, queue_type="quorum", classes={"high": 1, "low": None})
async def once() -> bool:
    assert_type(current_call(), CurrentCall)
    assert_type(current_call().time_left, float | None)
    assert_type(current_call().criticality, str | None)
    return current_call().cancelled


@register_call(name="an.other")
async def named(number: int) -> int:
    return number


partial = register_call(name="partial")(functools.partial(called, 1))


async def a_wrapper_of_a_call(
    client: RMQClient, name: str, *args: Any, kind: FunctionKind = "any", headers: Headers | None = None, **kwargs: Any
) -> Any:
    return await client.remote_call(name, args, kwargs, kind, headers=headers)


def a_wrapper_of_a_registration(func: Callable[..., Any], how: Delivery, queue_type: QueueType) -> Callable[..., Any]:
    return register_call(delivery=how, queue_type=queue_type)(func)


@register_call(10, 2, 1)
async def positional() -> None: ...


async def functions_keep_their_types() -> None:
    assert_type(bare(1, text="x"), float)
    assert_type(called(1), str)
    assert_type(await limited(1, "x"), list[str])
    assert_type(await positional(), None)
    assert_type(await once(), bool)

    as_before: Callable[[int], str] = called
    coroutine: Callable[[int], Coroutine[Any, Any, list[str]]] = limited
    del as_before, coroutine


def wrong_arguments_are_errors() -> None:
    bare("x")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    bare(1, test="x")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    called()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    called(number="x")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    register_call(queue_size="10")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    register_call(classes={1: 2})  # type: ignore[dict-item] # pyright: ignore[reportArgumentType]
    register_call(1, 2, 3, True)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]


async def the_client() -> None:
    async with RMQClient(None, "host", 5672, "user", "password") as client:
        assert_type(client, RMQClient)
        assert_type(await client.connect(), RMQClient)
        assert_type(
            await client.try_remote_call("f", (1,), {"key": 2}, "sync", timeout=1), tuple[bool, tuple[int, Any]]
        )
        assert_type(client.correlation_id, str)
        await client.remote_call("f", [1], ftype="any", timeout=1.5)
        await client.remote_call("f", idempotent=True, persistent=True, inherit_deadline=False)
        assert_type(await client.try_remote_call("f", idempotency_key="order 17"), tuple[bool, tuple[int, Any]])
        assert_type(client.health(), Health)
        assert_type(client.health().ok, bool)
        await client.remote_call("f", retry=RetryRefused(attempts=3))
        await client.remote_call("f", retry=False)
        await client.remote_call("f", "text")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        await client.remote_call("f", range(3))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        await client.remote_call("f", retry=True)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        await client.remote_call("f", idempotency_key=17)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        await client.remote_call("f", ftype="both")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        await client.remote_call("f", (), {}, "sync", 1.5)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


async def the_server() -> None:
    async with RMQServer(url="amqp://user:password@host/") as server:
        assert_type(server, RMQServer)
        assert_type(server.add_service(called, 10, 2, 1.5, True), ServiceSchema)
        assert_type(server.add_service(called, validate=True), ServiceSchema)
        assert_type(server.add_service(functools.partial(called, 1), name="one"), ServiceSchema)
        server.load_services(globals())
        server.load_plugins("folder")
        await server.run_serve(reload=True, signals=False)


def the_connection(base: RMQBase) -> None:
    assert_type(base.state, ConnectionState)
    assert_type(base.last_error, Exception | None)


def a_refusal(error: QueueFullError) -> RMQClient:
    assert_type(error.retry_after, float | None)
    assert_type(error.attempts, int)
    return RMQClient(retry=RetryRefused(base=0.1, cap=2.0, ratio=0.2, burst=5))
