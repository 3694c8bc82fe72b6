from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.client_support import make_client
from tests.unit.scripted_transport import ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core._client.client import Client


@pytest.fixture
def transport() -> ScriptedTransport:
    """A transport on which the test plays the broker."""
    return ScriptedTransport()


@pytest.fixture
async def client(transport: ScriptedTransport) -> AsyncIterator[Client]:
    """A connected client of that transport; no call may be pending at the end of the test."""
    client = make_client(transport)
    await client.connect()
    yield client
    assert client.pending == 0, "every test leaves the table empty"
    await client.close()
