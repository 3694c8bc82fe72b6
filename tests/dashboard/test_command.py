"""``rabibridge dashboard`` as a process, beside two workers and a broker, in a browser."""

from __future__ import annotations

import asyncio
import re
import signal
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import aiormq
import pytest
from playwright.async_api import expect

from rabibridge import RemoteExecutionError, RMQClient
from tests.cli.conftest import Command
from tests.dashboard.server import exchange

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.async_api import Browser

    from tools.broker import Broker

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICES = """
from rabibridge import register_call

@register_call(queue_size=500, fetch_size=4)
async def add(a: int, b: int = 1) -> int:
    "Add two numbers."
    return a + b

@register_call
async def fail(text: str) -> None:
    raise LookupError(text)
"""
LONG = 60_000
"""Milliseconds that the page may take to show what it must show."""


@contextmanager
def dashboard(command: Command, *options: str) -> Iterator[str]:
    """Run it, and give the address that it prints."""
    with command.start("dashboard", "--port", "0", *options) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        try:
            assert found, f"{line}{process.stderr and process.stderr.read()}"
            yield found[0]
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert errors == ""


async def publish_a_request_that_cannot_be_answered(url: str) -> None:
    """Send a request whose reply is to go to a queue of another program: its worker dead-letters it."""
    async with await aiormq.connect(url) as connection:
        channel = await connection.channel()
        properties = aiormq.spec.Basic.Properties(
            reply_to="accounts", correlation_id="1", content_type="application/msgpack"
        )
        await channel.basic_publish(
            b"\x92\x92\x01\x02\x80", exchange="rpc", routing_key="async_add", properties=properties
        )


async def test_two_workers_their_calls_an_error_and_a_dead_letter(
    chromium: Browser, rabbitmq: Broker, tmp_path: Path
) -> None:
    command = Command(rabbitmq.fresh_vhost(), tmp_path)
    (tmp_path / "services.py").write_text(SERVICES)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(command.serving("services.py"))
        address = stack.enter_context(dashboard(command, "--allow-actions"))
        client = await RMQClient(url=command.url).connect()
        page = await chromium.new_page()
        try:
            await page.goto(address)
            row = page.locator("#services-table tbody tr", has_text="add")
            await expect(row).to_have_count(1, timeout=LONG)
            await expect(row.locator("td").nth(1)).to_have_text("2", timeout=LONG)

            assert await asyncio.gather(*(client.remote_call("add", (number, 1)) for number in range(100))) == [
                number + 1 for number in range(100)
            ]
            with pytest.raises(RemoteExecutionError):
                await client.remote_call("fail", ("<b>no account 7</b>",))
            await expect(row.locator("td").last).to_have_text("100", timeout=LONG)
            await row.click()
            await expect(page.locator("#service-signature")).to_contain_text("(a: int, b: int = 1) -> int")
            await expect(page.locator("#service-signature")).to_contain_text("Add two numbers.")
            await expect(page.locator("#plots figure")).to_have_count(4)

            await page.keyboard.press("2")
            await expect(page.locator("#workers-table tbody tr")).to_have_count(2)
            await expect(page.locator("#workers-table tbody tr").first).to_contain_text("ready")

            await page.keyboard.press("3")
            error = page.locator("#errors-list summary")
            await expect(error).to_contain_text("LookupError: <b>no account 7</b>", timeout=LONG)
            await error.click()
            await expect(page.locator("#errors-list pre")).to_contain_text("services.py")

            await publish_a_request_that_cannot_be_answered(command.url)
            page.on("dialog", lambda dialog: dialog.accept())
            await page.keyboard.press("4")
            letter = page.locator("#dead-table tbody tr")
            async with asyncio.timeout(LONG / 1000):
                while not await letter.count():
                    await page.locator("#dead-refresh").click()
                    await page.wait_for_timeout(200)
            await expect(letter).to_contain_text("add")
            await letter.locator("input").check()
            await page.locator("#dead-requeue").click()
            await expect(page.locator("#dead-said")).to_contain_text("1 requeued", timeout=LONG)
        finally:
            await page.close()
            await client.close()


async def test_beyond_this_machine_it_wants_the_token_that_it_prints(rabbitmq: Broker, tmp_path: Path) -> None:
    command = Command(rabbitmq.fresh_vhost(), tmp_path)
    with dashboard(command, "--host", "0.0.0.0", "--allow-host", "ops.example.com") as address:
        port, token = re.findall(r":(\d+)/\?token=(\S+)", address)[0]
        get = "GET /api/state HTTP/1.1\nHost: ops.example.com\n"

        assert (await exchange(int(port), f"{get}\n"))[0] == 401
        assert (await exchange(int(port), f"{get}Authorization: Bearer {token}\n\n"))[0] == 200
        assert (await exchange(int(port), "GET /api/state HTTP/1.1\nHost: evil.test\n\n"))[0] == 421


async def test_a_port_that_is_taken(rabbitmq: Broker, tmp_path: Path) -> None:
    command = Command(rabbitmq.url, tmp_path)
    taken = re.findall(r":(\d+)", rabbitmq.url)[-1]
    done = await asyncio.to_thread(lambda: command("dashboard", "--port", taken))

    assert done.returncode == 3
    assert f"cannot listen on 127.0.0.1, port {taken}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
