"""run_serve(reload=True): whatever a file raises, the folder stays watched; health and the log say what serves."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.rpc import RpcClient, RpcServer
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rabibridge_testing import FakeBroker


def _service(result: str, decorator: str = "register_call") -> str:
    return f"from rabibridge_core import register_call\n@{decorator}\nasync def one():\n    return {result!r}\n"


@asynccontextmanager
async def _serving(folder: Path) -> AsyncIterator[tuple[RpcServer, RpcClient]]:
    server = RpcServer()
    server.load_plugins(folder)
    async with server, RpcClient() as client:
        running = asyncio.create_task(server.run_serve(reload=True, signals=False))
        await until(lambda: bool(server.health()) or running.done())
        yield server, client
        server.stop()
        await soon(running)


@pytest.mark.parametrize(
    "broken", ["class Odd(BaseException): ...\nraise Odd('odd')\n", "raise SystemExit(3)\n", "def f(:\n"]
)
async def test_the_next_change_is_loaded(fake_broker: FakeBroker, tmp_path: Path, broken: str) -> None:
    (tmp_path / "one.py").write_text(_service("old"))
    async with _serving(tmp_path) as (server, client):
        (tmp_path / "one.py").write_text(broken)
        await until(lambda: not server.health())
        (reason,) = server.health().reasons
        assert "one.py cannot be imported" in reason
        assert await soon(client.remote_call("one")) == "old"
        (tmp_path / "one.py").write_text(_service("new"))
        await until(lambda: bool(server.health()))
        assert await soon(client.remote_call("one")) == "new"


async def test_a_file_that_fails_at_the_start(fake_broker: FakeBroker, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(_service("one"))
    (tmp_path / "two.py").write_text("1 / 0\n")
    server = RpcServer()
    server.load_plugins(tmp_path)
    assert any("two.py cannot be imported: ZeroDivisionError" in reason for reason in server.health().reasons)


async def test_the_last_line_says_what_serves(
    fake_broker: FakeBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if "served now" in record.getMessage()]

    (tmp_path / "one.py").write_text(_service("old", "register_call(queue_size=5)"))
    async with _serving(tmp_path) as (_, client):
        with caplog.at_level(logging.INFO, "rabibridge_core"):
            (tmp_path / "one.py").write_text(_service("new", "register_call(queue_size=5)"))
            await until(lambda: len(told()) == 1)
            assert "the new version of one" in told()[0]
            (tmp_path / "one.py").write_text(_service("newest", "register_call(queue_size=6)"))
            await until(lambda: len(told()) == 2)
        last = caplog.records[-1]
        assert last.getMessage().endswith("still the previous version of one")
        assert last.levelno == logging.WARNING
        assert await soon(client.remote_call("one")) == "new"


async def test_new_code_can_change_after_how_long_a_call_is_slow(
    fake_broker: FakeBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def slow() -> list[str]:
        return [line.getMessage() for line in caplog.records if getattr(line, "rb_event", "") == "call.slow"]

    hanging = """
import asyncio
from rabibridge_core import register_call
@register_call(slow_call={limit})
async def one(kind):
    if kind == "hang":
        await asyncio.Event().wait()
    return {limit}
"""
    (tmp_path / "one.py").write_text(hanging.format(limit=3600))
    async with _serving(tmp_path) as (_, client):
        before = asyncio.create_task(client.remote_call("one", ("hang",), timeout=120))
        assert await soon(client.remote_call("one", ("",))) == 3600
        assert slow() == []
        (tmp_path / "one.py").write_text(hanging.format(limit=0.2))
        while await soon(client.remote_call("one", ("",))) != 0.2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # nothing tells a caller of new code
        after = asyncio.create_task(client.remote_call("one", ("hang",), timeout=120))
        await until(lambda: len(slow()) > 0)
        before.cancel()
        after.cancel()
        await asyncio.wait((before, after))
