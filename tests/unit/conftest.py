from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.plugins.manager import PluginManager
from tests.unit.client_support import make_client
from tests.unit.scripted_transport import ScriptedTransport
from tests.unit.shard_support import Brokers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rabibridge_core._client.client import Client


@pytest.fixture
def clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test in an empty folder and with none of our variables set."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("RABIBRIDGE_", "RABBITMQ_", "CLOUDAMQP_", "TOY")):  # the last is that of toy_transport
            monkeypatch.delenv(name)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set variables of the environment, by name, until the end of the test."""

    def set_variables(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


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
    assert not client.calls.deadlines, "and no timer for a deadline"
    await client.close()


@pytest.fixture
def manager() -> PluginManager:
    """A plug-in manager that loads no installed plug-in."""
    manager = PluginManager()
    manager._loaded = True
    return manager


@pytest.fixture
async def brokers() -> AsyncIterator[Brokers]:
    """Several in-memory brokers, gone after the test."""
    made = Brokers()
    yield made
    await made.close()
