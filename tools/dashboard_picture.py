"""Make the picture in docs/dashboard.md: ``python -m tools.dashboard_picture``, from real workers under a real load.

It needs RabbitMQ and a Chromium, and takes two minutes: so long until the plots have something to show.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from playwright.async_api import async_playwright

from rabibridge import RabiBridgeError, RMQClient
from tools.broker import provide_broker
from tools.chromium import find_chromium

PICTURE = Path(__file__).parents[1] / "docs/dashboard/services.png"
_SECONDS = 100
_SERVICES = '''
import asyncio, random
from rabibridge import register_call

@register_call(name="accounts.balance", queue_size=200, fetch_size=16)
async def balance(account: str) -> int:
    """Return the balance of an account, in cents."""
    await asyncio.sleep(random.expovariate(200))
    if random.random() < 0.002:
        raise LookupError(f"there is no account {account!r}")
    return 4200

@register_call(name="reports.month", queue_size=20, fetch_size=2)
async def month(year: int, month: int) -> list[int]:
    """Return what was sold on each day of a month."""
    await asyncio.sleep(random.uniform(0.2, 0.5))
    return [year] * 30

@register_call(name="thumbnails.make", queue_size=100, fetch_size=8)
async def make(image: bytes, width: int = 200) -> bytes:
    """Make a small picture of a large one."""
    await asyncio.sleep(random.uniform(0.02, 0.08))
    return image[:width]
'''


async def _call(client: RMQClient, name: str, arguments: tuple[object, ...], rate: float) -> None:
    """Call a service at a rate that swings."""
    calls = set[asyncio.Task[object]]()
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        swing = 1 + 0.8 * (0.5 - abs((loop.time() - began) % 60 / 60 - 0.5))
        await asyncio.sleep(random.expovariate(rate * swing))
        task = asyncio.create_task(_one(client, name, arguments))
        calls.add(task)
        task.add_done_callback(calls.discard)


async def _one(client: RMQClient, name: str, arguments: tuple[object, ...]) -> object:
    try:
        return await client.remote_call(name, arguments, timeout=10)
    except RabiBridgeError as error:
        return error


async def _take(address: str, url: str) -> None:
    async with RMQClient(url=url) as client, async_playwright() as playwright:
        loads = [
            ("accounts.balance", ("7-301",), 150.0),
            ("reports.month", (2026, 5), 14.0),
            ("thumbnails.make", (b"x",), 60.0),
        ]
        calling = [asyncio.create_task(_call(client, *load)) for load in loads]
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1200, "height": 800}, color_scheme="light")
        await page.goto(address)
        await page.locator("#services-table tbody tr", has_text="reports.month").click()
        await asyncio.sleep(_SECONDS)
        await page.screenshot(path=str(PICTURE))
        await browser.close()
        for task in calling:
            task.cancel()
        await asyncio.gather(*calling, return_exceptions=True)


def main() -> int:
    """Run a broker, two workers, callers and the dashboard, and take the picture."""
    if find_chromium() is None:
        print("no Chromium: install it", file=sys.stderr)
        return 1
    broker = provide_broker()
    if broker is None:
        print("no RabbitMQ: install it", file=sys.stderr)
        return 1
    PICTURE.parent.mkdir(exist_ok=True)
    with broker, tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        Path(folder, "services.py").write_text(_SERVICES)

        def start(*arguments: str) -> subprocess.Popen[str]:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "rabibridge", *arguments],
                    cwd=folder,
                    env=os.environ | {"RABIBRIDGE_URL": broker.url},
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.terminate)
            return process

        start("run", "services.py", "--log-level", "ERROR")
        start("run", "services.py", "--log-level", "ERROR")
        dashboard = start("dashboard", "--port", "0")
        assert dashboard.stdout is not None
        found = re.search(r"http://\S+", dashboard.stdout.readline())
        assert found is not None
        asyncio.run(_take(found[0], broker.url))
    return 0


if __name__ == "__main__":
    sys.exit(main())
