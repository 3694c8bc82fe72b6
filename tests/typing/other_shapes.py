"""Checked by mypy and pyright, both in strict mode, never run: notifications and broadcasts."""

# pyright: strict

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from rabibridge import Broadcast, BroadcastReply, RMQClient, register_call

if TYPE_CHECKING:
    from rabibridge_core.rpc import RpcClient


@register_call
async def add(a: int, b: int = 0) -> int:
    return a + b


@register_call(queue_size=10)
def join(first: str, /, *rest: str, end: str = "") -> str:
    return first + "".join(rest) + end


async def ours(timeout: float, headers: str, self: int, func: int) -> list[int]:
    return [self, func] if timeout and headers else []


class Counter:
    async def count(self, by: int = 1) -> int:
        return by


async def a_notification_has_no_result(client: RMQClient) -> None:
    assert_type(await client.notify(add, 1, b=2), None)
    assert_type(await client.notify(join, "a", "b", end="!"), None)
    assert_type(await client.notify("add", 1, timeout=2, func=3), None)
    assert_type(await client.notify(ours, timeout=1.5, headers="", self=1, func=2), None)
    assert_type(await client.notify(Counter().count, by=2), None)
    assert_type(await client.options(timeout=3, persistent=False).notify(add, 1), None)
    assert_type(await client.notify(client.stub(add), 1), None)


async def replies_have_the_types_of_the_functions(client: RMQClient, core: RpcClient) -> None:
    broadcast = client.options(timeout=5.0).broadcast(add, 1, b=2)
    assert_type(broadcast, Broadcast[int])
    async for reply in broadcast:
        assert_type(reply, BroadcastReply[int])
        assert_type(reply.worker, str)
        assert_type(reply.result, int)
        assert_type(reply.ok, bool)
    assert_type(broadcast.missing, tuple[str, ...])
    assert_type(broadcast.silent, int | None)
    assert_type(broadcast.complete, bool)
    assert_type(core.broadcast(join, "a", end="!"), Broadcast[str])
    assert_type(core.broadcast("add", 1, timeout=2), Broadcast[Any])
    assert_type(client.broadcast(ours, timeout=1.5, headers="", self=1, func=2), Broadcast[list[int]])
    assert_type([reply.result async for reply in client.broadcast(Counter().count)], list[int])


async def wrong_arguments_are_errors(client: RMQClient) -> None:
    await client.notify(add)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    await client.notify(add, "1")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.notify(add, 1, timeout=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await client.notify(7)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    client.broadcast(add)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    client.broadcast(add, "1")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    client.broadcast(join, first="a")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    await client.broadcast(add, 1)  # type: ignore[misc] # pyright: ignore[reportGeneralTypeIssues]
    for _ in client.broadcast(add, 1):  # type: ignore[attr-defined] # pyright: ignore[reportGeneralTypeIssues]
        pass
