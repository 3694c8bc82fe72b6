"""What an operator's commands print about workers whose calls are encrypted: no argument, and no key.

The operator has the keys, as its commands need them to ask workers. A terminal, its scroll-back and a ticket that it is
pasted into have not.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

from starlette.testclient import TestClient

from rabibridge import RMQClient, RMQServer
from rabibridge.dashboard import Dashboard
from tests.rabbitmq.support import until_waiting
from tests.security.test_hostile_texts import shown_by
from tests.security.watch import SIGNING_KEY, Watch
from tests.support.waiting import soon
from tests.unit.signing_support import AES, OTHER, line, settings_of

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.rabbitmq.support import Stage

MARKER = "marker-of-an-encrypted-argument"
RING = f"{line('mark', 'hmac-sha256', SIGNING_KEY.encode())};{AES}"
ENCRYPTED: dict[str, Any] = {"encryption_key_id": "aes", "require_encryption": True}


async def fail(text: str) -> None:
    raise LookupError(f"no such thing: {text}")


async def booked(number: int) -> int:
    return number


async def served(stage: Stage, ring: str, signing_id: str) -> RMQServer:
    server = stage.new_server(url=None, settings=settings_of(stage.url, ring, signing_id, **ENCRYPTED))
    server.add_service(fail, name="fail")
    server.add_service(booked, name="booked", validate=True)
    await soon(server.connect())
    stage.start(server)
    await soon(server.wait_serving())
    return server


async def test_commands_and_the_dashboard_show_no_argument(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(MARKER, SIGNING_KEY, base64.b64encode(SIGNING_KEY.encode()).decode().rstrip("="))
    settings = settings_of(stage.url, RING, "mark", **ENCRYPTED)
    # This worker lacks the key, and sets the first request aside.
    stranger = await served(stage, f"{OTHER};{AES}", "other")
    client = await stage.client(url=None, settings=settings)
    await soon(client.options(headers={"tenant": MARKER}).notify("fail", MARKER))
    await until_waiting(stage.url, "rpc.dead", 1)
    await soon(stranger.close())
    await served(stage, RING, "mark")
    for name in ("fail", "booked"):
        await soon(client.try_remote_call(name, (MARKER,), timeout=60))
    await soon(client.notify("booked", MARKER))

    variables = {
        "URL": stage.url, "SIGNING_KEYS": RING, "SIGNING_KEY_ID": "mark", "ENCRYPTION_KEY_ID": "aes",
        "REQUIRE_ENCRYPTION": "true",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(f"RABIBRIDGE_{name}", value)
    commands = [
        ("ping",), ("workers",), ("workers", "--json"), ("services",), ("services", "fail"), ("health",), ("doctor",),
        ("queue", "list"), ("dead", "list"), ("dead", "list", "--json"), ("config", "show"), ("config", "check"),
    ]  # fmt: skip
    for command in commands:
        watch.text(" ".join(command), await asyncio.to_thread(shown_by, command, tmp_path))
    shown = dict(watch.shown)
    assert "LookupError" in shown["workers --json"], "the failure is told"
    for letter in json.loads(shown["dead list --json"])["letters"]:
        text = await asyncio.to_thread(shown_by, ("dead", "show", letter["id"]), tmp_path)
        assert "encrypted" in text
        watch.text("dead show", text)

    def look() -> None:
        own = RMQClient(settings=settings)
        with TestClient(Dashboard(client=own), base_url="http://localhost") as browser:
            for page in ("/", "/api/state", "/api/dead"):
                answer = browser.get(page)
                watch.text(f"dashboard {page}", f"{answer.status_code} {answer.headers} {answer.text}")

    await asyncio.to_thread(look)
    assert watch.found() == []
