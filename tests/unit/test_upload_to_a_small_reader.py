"""Uploads of many small items to a worker, or through a broker, that accepts less than is gathered in a message."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._protocol.streams import FED_BYTES
from rabibridge_core.errors import ContentRejectedError, RemoteExecutionError
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_testing import MemoryBroker
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

_SMALL = 4096
_ITEM = 100
_COUNT = 3 * FED_BYTES // _ITEM


def checked(count: int, item: bytes) -> int:
    assert int.from_bytes(item[:2], "big") == count
    return count + 1


async def count(items: AsyncIterator[bytes]) -> int:
    found = 0
    async for item in items:
        found = checked(found, item)
    return found


def count_in_thread(items: Iterator[bytes]) -> int:
    return functools.reduce(checked, items, 0)


def numbered(end: int, size: int = _ITEM) -> Iterator[bytes]:
    for number in range(end):
        yield number.to_bytes(2, "big") + bytes(size)


@pytest.mark.parametrize("func", [count, count_in_thread])
@pytest.mark.parametrize("small", ["worker", "caller", "decompressed", "broker"])
async def test_no_more_is_gathered_than_is_accepted(
    func: Callable[..., object], small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = MemoryBroker(max_message_size=_SMALL if small == "broker" else None)
    limits = {"worker": "MAX_BODY", "caller": "MAX_BODY", "decompressed": "MAX_DECOMPRESSED"}
    if small != "decompressed":
        monkeypatch.setenv("RABIBRIDGE_COMPRESS_THRESHOLD", str(2 * FED_BYTES))

    def limit(*who: str) -> None:
        for name in limits.values():
            monkeypatch.delenv(f"RABIBRIDGE_{name}", raising=False)
        if small in who:
            monkeypatch.setenv(f"RABIBRIDGE_{limits[small]}", str(_SMALL))

    limit("worker", "decompressed")
    server = RpcServer(transport=broker.transport())
    server.add_service(func, name="count")
    limit("caller")
    client = RpcClient(transport=broker.transport())
    limit()
    async with server.serving(), client:
        for _ in range(2):
            assert await soon(client.call("count", numbered(_COUNT))) == _COUNT
        error = ContentRejectedError if small in ("caller", "broker") else RemoteExecutionError
        with pytest.raises(error, match=str(_SMALL)):
            await soon(client.call("count", numbered(3, 2 * _SMALL)))
        assert await soon(client.call("count", numbered(3))) == 3
