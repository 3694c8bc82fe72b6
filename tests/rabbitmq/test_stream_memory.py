"""Memory stays flat in caller, broker and worker while a reader is slow; ``make stream-memory`` streams 1 GiB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.stream_memory.items import KINDS
from tools.stream_memory.measure import measure

if TYPE_CHECKING:
    from tools.broker import Broker

TOTAL = 64 * 2**20


@pytest.mark.parametrize("kind", KINDS)
async def test_a_slow_reader_takes_no_memory(governed: Broker, vhost_url: str, kind: str) -> None:
    measured = await measure(governed, vhost_url, kind, TOTAL)
    print(measured)
    assert measured.received >= TOTAL
    assert measured.flat, measured
