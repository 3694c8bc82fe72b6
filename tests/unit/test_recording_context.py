"""record(): the conversation of a program with the broker that it is configured for."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_testing import FakeBroker, RecordingError, record
from rabibridge_testing.memory import forget_broker
from tests.unit.signing_support import AES, HMAC, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rabibridge_core.settings import Settings

URL = "memory://recorded"
ENCRYPTED: dict[str, Any] = {"encryption_key_id": "aes", "require_encryption": True}


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@asynccontextmanager
async def meeting(settings: Settings) -> AsyncIterator[RpcClient]:
    async def add(left: int, right: int) -> int:
        return left + right

    forget_broker("recorded")
    server = RpcServer(settings=settings)
    server.add_service(add)
    async with server.serving(), RpcClient(settings=settings) as client:
        yield client


async def test_signed_calls_are_recorded_without_their_signatures(tmp_path: Path) -> None:
    path = tmp_path / "add.json"
    with record(path) as seen:
        async with meeting(settings_of(URL, HMAC, "hmac")) as client:
            assert await client.call("add", 1, 2) == 3
            assert await client.call("add", 3, right=4) == 7
        seen.assert_any_call("add", 1, 2)
    assert json.loads(path.read_text())["calls"] == [
        {"service": "add", "args": [1, 2], "result": [3]},
        {"service": "add", "args": [3], "kwargs": {"right": 4}, "result": [7]},
    ]
    assert path.read_text().count("\n") == 7


async def test_a_recording_of_another_broker_is_replayed(tmp_path: Path, fake_broker: FakeBroker) -> None:
    path = tmp_path / "add.json"
    with record(path):
        async with meeting(settings_of(URL, HMAC, "hmac")) as client:
            await client.call("add", 1, 2)
    recording = fake_broker.replay(path)
    async with RpcClient(url=URL) as client:
        assert recording.left == ["add(1, 2)"]
        assert await asyncio.wait_for(client.call("add", 1, 2), 10) == 3
    recording.assert_all_replayed()


async def test_encrypted_calls_are_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    with pytest.raises(RecordingError, match=r"calls of 'add' are encrypted.*leave the service out"), record(path):
        async with meeting(settings_of(URL, f"{HMAC}\n{AES}", "hmac", **ENCRYPTED)) as client:
            assert await client.call("add", 1, 2) == 3
    assert names_in(tmp_path) == []
    with record(path, services=["other"]):
        async with meeting(settings_of(URL, f"{HMAC}\n{AES}", "hmac", **ENCRYPTED)) as client:
            assert await client.call("add", 1, 2) == 3
    assert json.loads(path.read_text())["calls"] == []


async def test_only_some_services_are_recorded(tmp_path: Path, fake_broker: FakeBroker) -> None:
    fake_broker.stub("one", returns=1)
    fake_broker.stub("two", returns=2)
    async with RpcClient(url=URL) as client:
        with fake_broker.record(tmp_path / "two.json", services={"two"}):
            await client.call("one")
            await client.call("two")
    assert [one["service"] for one in json.loads((tmp_path / "two.json").read_text())["calls"]] == ["two"]


async def test_what_a_recording_answers_has_no_other_stub(tmp_path: Path, fake_broker: FakeBroker) -> None:
    async with RpcClient(url=URL) as client:
        with fake_broker.record(tmp_path / "one.json"):
            fake_broker.stub("one", returns=1)
            await client.call("one")
    with pytest.raises(RecordingError, match="'one' has a stub"):
        fake_broker.replay(tmp_path / "one.json")
    fake_broker.reset()
    fake_broker.replay(tmp_path / "one.json")
