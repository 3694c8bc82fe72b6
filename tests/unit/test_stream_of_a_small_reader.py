from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge import RMQClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from rabibridge_testing import FakeBroker


async def test_no_more_is_gathered_than_the_reader_accepts(
    fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def items() -> AsyncIterator[bytes]:
        for number in range(400):
            yield number.to_bytes(2, "big") * 400

    fake_broker.add_service(items)
    monkeypatch.setenv("RABIBRIDGE_MAX_BODY", "4096")
    monkeypatch.setenv("RABIBRIDGE_COMPRESS_THRESHOLD", "100000")
    async with RMQClient() as client:
        received = [int.from_bytes(item[:2], "big") async for item in client.stream("items")]

    assert received == list(range(400))
