"""Replays, rotations and peers without keys, over the broker in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.errors import CallTimeoutError, KeyUnknownError, RemoteExecutionError, SignatureError
from rabibridge_core.rpc import RpcClient
from tests.support.waiting import soon, until
from tests.unit.signing_support import AES, HMAC, OTHER, bare, pair, strip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def echo(value: Any) -> Any:
    return value


async def count(to: int, text: str = "") -> AsyncIterator[Any]:
    for number in range(to):
        yield number, text


async def total(numbers: AsyncIterator[int]) -> int:
    return sum([number async for number in numbers])


async def numbers(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


FUNCTIONS = (echo, count, total)


async def test_the_same_bytes_run_once_and_their_copy_is_dropped_without_a_reply() -> None:
    runs: list[int] = []

    async def run(value: int) -> int:
        runs.append(value)
        return value

    async with pair([run]) as (client, server, tap):
        assert await soon(client.remote_call("run", (1,))) == 1
        (_, captured), *_ = tap.sent
        tap.caller.send(captured)
        assert await soon(client.remote_call("run", (2,))) == 2
        assert runs == [1, 2]
        assert server.refused_messages == {"replayed": 1}
        assert len(tap.received) == 2


async def test_the_same_bytes_of_somebody_else_with_another_reply_address_do_not_run() -> None:
    runs: list[int] = []

    async def run(value: int) -> int:
        runs.append(value)
        return value

    async with pair([run]) as (client, server, tap):
        tap.out = lambda kind, request: None  # it never reaches the worker, which so has not seen it
        with pytest.raises(CallTimeoutError):
            await client.options(timeout=0.3).remote_call("run", (1,))
        (_, captured), *_ = tap.sent
        url = str(client.settings.endpoints[0])
        async with RpcClient(url=url) as thief:
            caller: Any = thief._transport
            stolen = await caller.open_caller(_Silent())
            stolen.send(captured)
            await until(lambda: server.refused_messages == {"signature": 1})
        assert runs == []


class _Silent:
    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


async def test_a_full_replay_memory_is_told() -> None:
    options: dict[str, Any] = {"replay_capacity": 1}
    async with pair(FUNCTIONS, server_options=options) as (client, server, _):
        assert await soon(client.remote_call("echo", (1,))) == 1
        async with RpcClient(settings=client.settings) as other:
            with pytest.raises(SignatureError, match="replay_capacity") as caught:
                await soon(other.remote_call("echo", (2,)))
        assert type(caught.value).__name__ == "ReplayMemoryFullError"
        assert caught.value.executed is False
        assert await soon(client.remote_call("echo", (3,))) == 3
        assert server.refused_messages == {"replay-memory": 1}


async def test_the_wrong_order_of_a_rotation_names_the_key() -> None:
    both = f"{HMAC}\n{OTHER}"
    async with pair(FUNCTIONS, client_ring=both, client_id="other") as (client, server, _):
        with pytest.raises(KeyUnknownError, match="'other' is not in the key ring") as caught:
            await soon(client.remote_call("echo", (1,)))
        assert caught.value.key_id == "other"
        assert caught.value.executed is False
        await soon(client.notify(echo, 1))
        await until(lambda: server.refused_messages == {"key": 2})
    async with pair(FUNCTIONS, server_ring=both, server_id="other") as (client, server, _):
        with pytest.raises(KeyUnknownError, match="the reply is refused: the key 'other'") as caught:
            await soon(client.remote_call("echo", (1,)))
        assert caught.value.executed is None


async def test_where_nothing_is_required_peers_without_keys_call_and_are_called() -> None:
    free: dict[str, Any] = {"require_signature": None}
    async with pair(FUNCTIONS, **free) as (client, server, tap):
        url = str(client.settings.endpoints[0])
        async with RpcClient(url=url) as plain:
            assert await soon(plain.remote_call("echo", (1,))) == 1
            assert [list(item) async for item in plain.stream(count, 3)] == [[0, ""], [1, ""], [2, ""]]
            assert await soon(plain.call(total, numbers(300))) == 44850
        tap.out = lambda kind, request: bare(request)
        assert await soon(client.remote_call("echo", (2,))) == 2
        assert server.refused_messages == client.refused_messages == {}


async def test_pickles_need_a_signature_even_where_nothing_else_does() -> None:
    free: dict[str, Any] = {"require_signature": None}
    async with pair(FUNCTIONS, serializer="pickle", **free) as (client, _, tap):
        assert await soon(client.remote_call("echo", (1,))) == 1
        strip(tap, "send")
        with pytest.raises(SignatureError, match="runs code"):
            await soon(client.remote_call("echo", (1,)))
        tap.out, tap.back = (lambda kind, request: request), bare
        with pytest.raises(SignatureError, match="runs code"):
            await soon(client.remote_call("echo", (1,)))


async def test_a_reply_that_grows_too_large_by_encryption_is_a_failure_that_says_so() -> None:
    async def large() -> bytes:
        return bytes(1024 - 10)

    ring = f"{HMAC}\n{AES}"
    options: dict[str, Any] = {"max_body": 1024, "encryption_key_id": "aes", "compress_threshold": 10**6}
    async with pair([large], client_ring=ring, server_ring=ring, **options) as (client, server, _):
        with pytest.raises(RemoteExecutionError, match="encrypted, more than max_body=1024"):
            await soon(client.remote_call("large"))
        assert server.refused_messages == {"unsealed": 1}
