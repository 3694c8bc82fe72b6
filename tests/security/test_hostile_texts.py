"""No command lets what workers, callers or the broker say control a terminal or forge a line."""

from __future__ import annotations

import asyncio
import contextlib
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pexpect
import pytest
from pamqp import commands as spec

from rabibridge import ServiceError, current_call
from rabibridge.cli.app import COMMANDS, app
from rabibridge_core._protocol.control import encode_answer
from rabibridge_core._server import control
from tests.cli.conftest import Command
from tests.rabbitmq.support import ctl, vhost_of
from tests.support.waiting import PATIENCE, soon, until_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.rabbitmq.support import Stage
    from tools.broker import Broker

HOSTILE = "\x1b[5m\x1b]0;title\x07\r\x00\u202e\x9b2J\u2028\nerror: forged\n"
"""Blinking, the title of a terminal, a bell, a return, NUL, right-to-left, an 8-bit CSI, separators, and a line."""
ARGUMENT = HOSTILE.replace("\x00", "")
"""The same, as far as a program can be given it."""
QUIET = {"run", "new", "config", "secret", "permissions", "version", "dashboard"}
"""Commands that show nothing of others; the dashboard is a page, which tests/dashboard/test_page.py opens."""


class WithMessageError(ServiceError, code="hostile.with_message"):
    """Its text is that of its field."""

    message: str


async def fail_with_message() -> None:
    raise WithMessageError(HOSTILE)


async def fail() -> None:
    error = type(f"Error{HOSTILE}", (Exception,), {})(HOSTILE)
    error.add_note(HOSTILE)
    raise error


async def items() -> AsyncIterator[dict[str, str]]:
    current_call().progress(0.5, HOSTILE)
    yield {HOSTILE: HOSTILE}
    raise ValueError(HOSTILE)


def documented(text: str = HOSTILE) -> str:
    return text


documented.__doc__ = HOSTILE
FUNCTIONS = (fail_with_message, fail, items, documented)


def hostile(value: Any, key: str = "") -> Any:
    """Return an answer with more in each text, but in those by which it is recognised."""
    if isinstance(value, dict):
        return {name: hostile(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [hostile(each, key) for each in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) and key not in ("id", "kind", "do") else value


def shown_by(line: tuple[str, ...], folder: Path) -> str:
    """Run the command in a thread of this process, and return what it prints."""
    with (folder / "shown").open("w+", encoding="utf-8") as file:
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file), contextlib.suppress(SystemExit):
            app(list(line), prog_name="rabibridge")
        file.seek(0)
        return file.read()


def check(shown: str, line: tuple[str, ...]) -> None:
    assert "Traceback (most recent call last)\n" not in shown.replace("\n  ", ""), line
    assert [char for char in shown if not char.isprintable() and char not in "\n\t"] == [], line
    assert [text for text in shown.splitlines() if text.startswith("error: forged")] == [], (line, shown)


async def dead_letters(stage: Stage, raw: Any, broker: Broker) -> None:
    """Let two requests die: one of a caller that lies, and one that looks like a dead letter."""
    properties = spec.Basic.Properties(
        reply_to=HOSTILE, correlation_id=HOSTILE, content_type=HOSTILE, message_id=HOSTILE, app_id=HOSTILE,
        headers={HOSTILE: HOSTILE, "rb-idempotency-key": HOSTILE},
    )  # fmt: skip
    await raw.basic_publish(HOSTILE.encode(), exchange="rpc", routing_key="async_fail", properties=properties)
    await until_true(partial(has_died, stage, broker, 1))
    headers = {f"rb-dead-{name}": HOSTILE for name in ("reason", "queue", "by", "at")}
    letter = spec.Basic.Properties(headers={**headers, "x-death": HOSTILE}, content_type="application/json")
    await raw.basic_publish(b'["\\u001b[5m\\n"]', routing_key="rpc.dead", properties=letter)
    await until_true(partial(has_died, stage, broker, 2))


async def has_died(stage: Stage, broker: Broker, number: int) -> bool:
    rows = await ctl(broker, "list_queues", "-p", vhost_of(stage.url), "name", "messages")
    return ["rpc.dead", str(number)] in rows


async def test_every_command_escapes_what_others_say(
    stage: Stage, raw: Any, governed: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode_hostile(codec: Any, value: dict[str, Any], refused: str = "") -> Any:
        return encode_answer(codec, hostile(value), refused + HOSTILE if refused else "")

    monkeypatch.setattr(control, "encode_answer", encode_hostile)
    server = stage.new_server(name=f"worker{HOSTILE}")
    for function in FUNCTIONS:
        server.add_service(function)
    await soon(server.connect())
    stage.start(server)
    await dead_letters(stage, raw, governed)
    client = await stage.client()
    with pytest.raises(WithMessageError) as failed:
        await soon(client.remote_call("fail_with_message"))
    assert failed.value.message == HOSTILE, "a program gets it as it was sent"
    assert "\x1b" not in str(failed.value)
    assert "\nerror: forged" not in str(failed.value)

    command = Command(stage.url, tmp_path)
    monkeypatch.setenv("RABIBRIDGE_URL", stage.url)
    lines: list[tuple[str, ...]] = [
        *(("call", name) for name in ("fail", "fail_with_message")),
        ("call", "fail_with_message", "--json"),
        ("call", "documented", "--kind", "sync"),
        ("call", "items", "--stream"),
        ("call", ARGUMENT),
        ("notify", ARGUMENT),
        ("notify", "fail"),
        ("bench", "fail", "--calls", "2", "--yes"),
        ("bench", "fail_with_message", "--calls", "2", "--yes"),
        ("ping", ARGUMENT),
        ("services",),
        ("services", "fail"),
        ("services", "--json"),
        ("workers",),
        ("workers", "--json"),
        ("workers", "dump"),
        ("schema", "--live"),
        ("schema", "--live", "--format", "asyncapi"),
        ("schema", "diff", ARGUMENT, ARGUMENT),
        ("stubs", "--live"),
        ("health",),
        ("doctor",),
        ("dead", "list"),
        ("dead", "list", "--json"),
        ("dead", "requeue", "--yes", "--service", "fail"),
        ("dead", "show", ARGUMENT),
        ("queue", "list"),
        ("queue", "purge", ARGUMENT, "--yes"),
    ]
    assert {line[0] for line in lines} | QUIET | {"top"} == {*COMMANDS}
    for line in lines:
        shown = await asyncio.to_thread(shown_by, line, tmp_path)
        check(shown, line)
        unwrapped = "".join(shown.split())  # a column may be as narrow as five characters
        assert line[0] not in ("services", "workers", "health") or "\\u202e" in unwrapped, "it was shown"
    letters = await asyncio.to_thread(shown_by, ("dead", "list", "--json"), tmp_path)
    for letter in json.loads(letters)["letters"] if letters.startswith("{") else json.loads(letters):
        line = ("dead", "show", letter["id"])
        check(await asyncio.to_thread(shown_by, line, tmp_path), line)
    await asyncio.to_thread(top, command)


def top(command: Command) -> None:
    """Look at the list and at the details of a service, and check what reaches the terminal."""
    program, *arguments = command.line("top", "--interval", "0.2")
    child = pexpect.spawn(
        program, arguments, cwd=str(command.folder), dimensions=(60, 200), encoding="utf-8", timeout=PATIENCE,
        env={**command.environment(), "TERM": "xterm", "COLUMNS": "", "LINES": ""},
    )  # fmt: skip
    heard = []
    try:
        child.expect_exact("services,")
        heard.append(child.before or "")
        child.expect_exact("documented")
        heard.append(child.before or "")
        for _ in range(4):
            child.send("\r")
            child.expect_exact("esc back")
            heard.append(child.before or "")
            child.send("\x1b")
            child.expect_exact("enter errors")
            heard.append(child.before or "")
            child.send("\x1b[B")
        child.send("q")
        child.expect(pexpect.EOF)
        heard.append(child.before or "")
    finally:
        with contextlib.suppress(pexpect.ExceptionPexpect):
            child.close(force=True)
    shown = "".join(heard)
    assert "\\x1b" in shown
    for raw in ("\x1b]0;", "\x1b[5m", "\x07", "\x00", "\u202e", "\x9b", "\u2028"):
        assert raw not in shown
