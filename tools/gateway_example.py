"""Runs examples/gateway: for its test, and for the pictures in docs/gateways.md: ``python -m tools.gateway_example``.

The pictures need RabbitMQ and a Chromium.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.async_api import async_playwright, expect

from tools.broker import provide_broker
from tools.chromium import find_chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.async_api import Page

__all__ = ["gateway_running"]

ROOT = Path(__file__).parents[1]
_FOLDER = ROOT / "examples/gateway"
_PICTURES = ROOT / "docs/gateways"
_PATIENCE = 90.0


@contextmanager
def gateway_running(url: str) -> Iterator[int]:
    """Run two workers and a gateway, each a process, on the broker of ``url``; give the port of the page.

    Raises:
        RuntimeError: a program has ended, or the workers do not answer.
    """
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])
    python = [sys.executable, "-m"]
    worker = [*python, "rabibridge", "run", "render_service.py"]
    gateway = [*python, "uvicorn", "--port", str(port), "--timeout-graceful-shutdown", "5", "gateway_app:app"]
    others = {name: value for name, value in os.environ.items() if not name.startswith("RABIBRIDGE_")}
    programs = [
        subprocess.Popen(command, cwd=_FOLDER, env=others | {"RABIBRIDGE_URL": url}, stdin=subprocess.DEVNULL)
        for command in (worker, worker, gateway)
    ]
    try:
        ends_at = time.monotonic() + _PATIENCE
        while _workers(port) < 2:
            if any(program.poll() is not None for program in programs) or time.monotonic() > ends_at:
                raise RuntimeError("a program has ended, or the workers do not answer")
            time.sleep(0.2)
        yield port
    finally:
        for program in programs:
            program.terminate()
        for program in programs:
            try:
                program.wait(_PATIENCE)
            finally:
                program.kill()


def _workers(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/workers", timeout=_PATIENCE) as answer:
            return len(json.load(answer))
    except (OSError, urllib.error.HTTPError):
        return 0  # it does not listen yet, or no worker has ever been there


async def _use(page: Page) -> None:
    """Let the page show a result, a cancelled call, calls that run, one that waits, and one that is refused."""

    async def start(pages: str) -> None:
        await page.locator("#pages").fill(pages)
        await page.get_by_role("button", name="Render", exact=True).click()
        await page.wait_for_timeout(1500)

    await start("5")
    await expect(page.locator("#jobs li").first).to_have_class("done", timeout=60_000)
    await start("60")
    await page.keyboard.press("Escape")
    await page.wait_for_timeout(1000)
    for pages in ("60", "90", "40", "40"):
        await start(pages)
    await page.locator("h1").click()


async def _pictures(url: str) -> None:
    with gateway_running(url) as port:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
            page = await browser.new_page(viewport={"width": 760, "height": 640}, color_scheme="light")
            await page.goto(f"http://127.0.0.1:{port}/")
            await _use(page)
            await page.screenshot(path=_PICTURES / "light.png", full_page=True)
            await page.emulate_media(color_scheme="dark")
            await page.set_viewport_size({"width": 360, "height": 740})
            await page.screenshot(path=_PICTURES / "dark.png", full_page=True)
            await browser.close()


def main() -> int:
    broker = provide_broker()
    if broker is None or find_chromium() is None:
        print("no RabbitMQ or no Chromium", file=sys.stderr)
        return 1
    _PICTURES.mkdir(exist_ok=True)
    with broker:
        asyncio.run(_pictures(broker.fresh_vhost()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
