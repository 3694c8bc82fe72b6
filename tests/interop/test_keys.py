"""Programs with a key ring beside those of the version before and of 0.1.2, which have none.

Where nothing is required, all works in both directions; where something is, each call ends with a clear error.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallTimeoutError, RMQClient, RMQServer, SignatureError
from tests.interop.conftest import serving
from tests.interop.test_previous import EXPECTED, line, previous, running
from tests.unit.signing_support import AES, HMAC, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.conftest import Peers
    from tools.peers import PeerProcess

__all__ = ["previous"]  # a fixture

RING = f"{HMAC};{AES}"
KEYS = {"RABIBRIDGE_SIGNING_KEYS": RING, "RABIBRIDGE_SIGNING_KEY_ID": "hmac"}
REQUIRED: dict[str, tuple[dict[str, Any], str]] = {
    "require_signature": ({"require_signature": True}, "it is not signed, which require_signature asks for"),
    "require_encryption": (
        {"require_encryption": True, "encryption_key_id": "aes"},
        "it is neither signed nor encrypted, which require_encryption asks for",
    ),
}


@pytest.mark.parametrize(
    ("caller", "server"), [("ours", "previous"), ("previous", "ours")], ids=["we call it", "it calls us"]
)
async def test_every_kind_of_call_with_keys_on_our_side_alone(
    previous: Path, vhost_url: str, unique_name: Callable[[str], str], caller: str, server: str
) -> None:
    pythons = {"ours": Path(sys.executable), "previous": previous}
    keys: dict[str, dict[str, str]] = {"ours": KEYS, "previous": {}}
    config = {"url": vhost_url, "prefix": unique_name("keys") + "_", "any": "any"}
    async with running(pythons[server], "serves.py", config, keys[server]) as worker:
        assert "ready" in await line(worker)
        async with running(pythons[caller], "calls.py", config, keys[caller]) as client:
            assert await line(client) == EXPECTED


@pytest.mark.parametrize("required", REQUIRED)
async def test_a_requirement_of_ours_is_a_clear_error_beside_the_version_before(
    previous: Path, vhost_url: str, unique_name: Callable[[str], str], required: str
) -> None:
    options, why = REQUIRED[required]
    settings = settings_of(vhost_url, RING, "hmac", **{"require_signature": None, **options})
    prefix = unique_name("keys") + "_"

    async def strict(value: int) -> int:
        return value

    strict.__name__ = prefix + "strict"
    server = RMQServer(settings=settings)
    server.add_service(strict)
    async with running(previous, "serves.py", {"url": vhost_url, "prefix": prefix}) as worker, serving(server):
        assert "ready" in await line(worker)
        async with RMQClient(settings=settings) as client:
            with pytest.raises(SignatureError, match=f"the reply is refused: {why}") as caught:
                await client.options(timeout=60, kind="async").call(prefix + "add", 1, 2)
            assert caught.value.executed is None
        calls = {"url": vhost_url, "calls": [[prefix + "strict", [1], "async"]]}
        async with running(previous, "fails.py", calls) as caller:
            names, _, _, text = await line(caller)
        assert "CallError" in names
        assert why in text
        assert server.refused_messages == {"signature": 1}


@pytest.mark.parametrize("required", [None, *REQUIRED])
async def test_a_client_of_0_1_2(peer_client: PeerProcess, url: str, service_name: str, required: str | None) -> None:
    options, why = REQUIRED[required] if required else ({}, "")
    server = RMQServer(settings=settings_of(url, RING, "hmac", **{"require_signature": None, **options}))

    async def echo(value: int) -> int:
        return value

    server.add_service(echo, name=service_name)
    async with serving(server):
        answer = await asyncio.wrap_future(peer_client.call(name=service_name, args=[7]))
    if required is None:
        assert answer["result"] == 7
    else:
        assert why in answer["text"]
        assert server.refused_messages == {"signature": 1}


async def test_a_server_of_0_1_2(peers: Peers, url: str, service_name: str) -> None:
    await asyncio.to_thread(peers.server, service_name)
    free = settings_of(url, RING, "hmac", require_signature=None)
    async with RMQClient(settings=free) as client:
        assert await client.remote_call(service_name, ("echo", 7), timeout=30) == 7
    async with RMQClient(settings=settings_of(url, RING, "hmac")) as client:
        with pytest.raises(
            SignatureError, match="the reply is refused: it is not signed, which require_signature asks"
        ):
            await client.remote_call(service_name, ("echo", 7), timeout=30)
    encrypted = settings_of(url, RING, "hmac", require_encryption=True, encryption_key_id="aes")
    async with RMQClient(settings=encrypted) as client:
        (deaf,) = (await client.workers(timeout=2, services=[service_name])).deaf
        assert (deaf.name, deaf.consumers, deaf.answered) == (service_name, 1, 0)
        with pytest.raises(CallTimeoutError):  # 0.1.2 rejects what it cannot decode, and answers nothing
            await client.remote_call(service_name, ("echo", 7), timeout=1)
