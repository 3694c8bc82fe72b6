"""Checked by mypy and pyright, both in strict mode, never run: calls of the synchronous client."""

# pyright: strict

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol, assert_type

from rabibridge import RetryRefused, register_call
from rabibridge.sync import Client
from rabibridge_core.rpc import BroadcastReply, SyncBroadcast, SyncClientView, SyncRpcClient


@register_call
async def add(a: int, b: int = 0) -> int:
    return a + b


@register_call(queue_size=10)
def join(first: str, /, *rest: str, end: str = "") -> str:
    return first + "".join(rest) + end


async def nothing() -> None: ...


class Counter:
    async def count(self, by: int = 1) -> int:
        return by


def results_have_the_types_of_the_functions(client: Client) -> None:
    assert_type(client.call(add, 1, 2), int)
    assert_type(client.call(add, a=1), int)
    assert_type(client.call(join, "a", "b", end="!"), str)
    assert_type(client.call(nothing), None)
    assert_type(client.call(Counter().count, by=2), int)
    assert_type(client.call("add", 1, timeout=2, func=3, self=4), Any)
    assert_type(client.remote_call("add", (1, 2), timeout=3), Any)
    assert_type(client.try_remote_call("add", [1], {"b": 2}, "sync"), tuple[bool, tuple[int, Any]])


def views_call_like_their_client(client: SyncRpcClient) -> None:
    view = client.options(timeout=1.5, idempotent=True, retry=RetryRefused(), headers={"tenant": "a", "size": 1})
    assert_type(view, SyncClientView)
    assert_type(view.options(criticality="batch"), SyncClientView)
    assert_type(view.options(retry=False), SyncClientView)
    assert_type(view.call(add, 1, 2), int)
    assert_type(view.remote_call("add", (1, 2)), Any)
    assert_type(view.try_remote_call("add", (1, 2)), tuple[bool, tuple[int, Any]])


class Math(Protocol):
    def add(self, a: int, b: int) -> int: ...


def stubs_and_proxies_have_the_signatures_of_the_functions(client: Client, view: SyncClientView) -> None:
    assert_type(client.stub(add, timeout=1.5)(1, b=2), int)
    assert_type(client.stub(join)("a", "b", end="!"), str)
    assert_type(view.stub("add").options(timeout=1.5)(1, 2), Any)
    assert_type(client.service(Math, timeout=1.5), Math)
    assert_type(view.service(Math).add(1, 2), int)


def notifications_and_broadcasts(client: Client) -> None:
    client.notify(add, 1, b=2)
    client.notify("add", 1, timeout=2)
    broadcast = client.options(timeout=5.0).broadcast(add, 1)
    assert_type(broadcast, SyncBroadcast[int])
    assert_type(iter(broadcast), Generator[BroadcastReply[int], None, None])
    for reply in client.broadcast(join, "a"):
        assert_type(reply.result, str)
    assert_type(client.broadcast("add", 1), SyncBroadcast[Any])


def maps(client: Client, view: SyncClientView) -> None:
    assert_type(client.map(add, [1, 2]), Generator[int, None, None])
    assert_type(view.map(add, [1, 2], return_exceptions=True), Generator[int | Exception, None, None])
    assert_type(client.starmap(add, [(1, 2)]), Generator[int, None, None])
    assert_type(client.map("add", [1]), Generator[Any, None, None])


def blocks_connect(client: Client) -> None:
    with client as connected:
        assert_type(connected, Client)
    assert_type(client.connect(), Client)


def wrong_arguments_are_errors(client: Client) -> None:
    client.call(add)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    client.call(add, "1")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    client.call(add, 1, timeout=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.call(join, "a", end=1)  # type: ignore[arg-type] # pyright: ignore[reportCallIssue, reportArgumentType]
    client.call(7)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    client.stub(add)("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.notify(add, "1")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    client.options(timout=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    Client(timeout=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
