"""Tests without coroutine functions: unittest, a synchronous client, and asyncio.run."""

from __future__ import annotations

import asyncio
import unittest
from typing import TYPE_CHECKING

from shop import client, price, total

from rabibridge.sync import Client
from rabibridge_testing import fake_broker_context

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker


class Totals(unittest.IsolatedAsyncioTestCase):
    def setUp(self) -> None:
        self.broker = self.enterContext(fake_broker_context(strict=True))

    async def test_a_total(self) -> None:
        self.broker.stub(price, returns=2.0)
        async with client:
            assert await total("nut", "bolt") == 4.0

    async def test_another(self) -> None:
        assert self.broker.calls == []


def test_asyncio_run(fake_broker: FakeBroker) -> None:
    async def main() -> float | None:
        async with client:
            return await total("nut")

    fake_broker.stub(price, returns=3.0)
    assert asyncio.run(main()) == 3.0


def test_a_synchronous_client(fake_broker: FakeBroker) -> None:
    fake_broker.stub(price, returns=4.0)
    with Client() as calls:
        assert calls.call("price", "nut") == 4.0
