"""Tests with coroutine functions: the marks that ``MODE`` in the environment asks for are those of one plug-in."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Any

import pytest
from shop import client, price, total

from rabibridge import QueueFullError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_testing import FakeBroker

MODE = os.environ["MODE"]
pytestmark = [] if MODE == "auto" else [pytest.mark.anyio if MODE == "anyio" else pytest.mark.asyncio]

fixture: Any = pytest.fixture
if MODE == "strict":
    import pytest_asyncio

    fixture = pytest_asyncio.fixture


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@fixture  # type: ignore[untyped-decorator]  # one of two
async def shop(fake_broker: FakeBroker) -> AsyncIterator[FakeBroker]:
    async with client:
        yield fake_broker


async def test_a_total(shop: FakeBroker) -> None:
    stub = shop.stub(price).side_effect(lambda article: float(len(article)))
    gc.collect()
    assert await total("nut", "bolt") == 7.0
    stub.assert_any_call("nut")


@pytest.mark.parametrize("article", ["nut", "bolt"])
async def test_a_busy_service(shop: FakeBroker, article: str) -> None:
    shop.stub(price, raises=QueueFullError)
    assert await total(article) is None
    shop.assert_called_once_with(price, article=article)


async def test_nothing_is_left_of_the_test_before(shop: FakeBroker) -> None:
    assert shop.calls == []
    shop.stub("price", returns=1.5)
    shop.lose_connection()
    assert await total("nut") == 1.5
