"""examples/gateway in a browser: a page, FastAPI, RabbitMQ and two workers, each a process of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tools.gateway_example import gateway_running

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOREVER = "10000"


async def start(page: Page, pages: str) -> None:
    await page.locator("#pages").fill(pages)
    await page.get_by_role("button", name="Render", exact=True).click()


async def test_progress_a_refusal_and_a_cancelled_call(chromium: Browser, vhost_url: str) -> None:
    with gateway_running(vhost_url) as port:
        page = await chromium.new_page(viewport={"width": 1000, "height": 900})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        await page.goto(f"http://127.0.0.1:{port}/")
        rows = page.locator("#jobs li")
        await expect(page.locator("#workers tr")).to_have_count(2)

        await start(page, "5")  # is done before a busy machine has looked at its progress
        await expect(rows.first).to_contain_text("5 pages by process")

        for number in (1, 2):  # both workers are busy
            await start(page, FOREVER)
            await expect(rows.first).to_contain_text(re.compile(r"page \d+ of 10000"))
            await expect(rows).to_have_count(1 + number)
        await start(page, FOREVER)  # it waits in the queue
        await expect(rows).to_have_count(4)
        waiting = page.locator("#jobs li", has_text="Document 4")
        await expect(waiting).to_contain_text("waiting")
        refused = page.locator("#jobs li.failed")
        while not await refused.count():  # the one that waits may not have reached the queue yet
            await start(page, FOREVER)
            await page.wait_for_timeout(500)
        await expect(refused.first).to_contain_text(
            re.compile(r"refused: The service is busy\..* Retry after \d+\ss\.")
        )

        await page.get_by_role("button", name="Cancel Document 2").click()
        await expect(page.locator("#jobs li", has_text="Document 2")).to_contain_text("cancelled")
        await expect(waiting).to_contain_text(re.compile(r"page \d+ of 10000"))  # a worker was free at once

        await page.locator("body").press("Escape")  # keys do it, too
        await expect(page.locator("#jobs li", has_text="cancelled")).to_have_count(2)
        while await page.locator("#jobs button").count():
            await page.locator("body").press("Escape")
            await page.wait_for_timeout(100)

        counted = page.locator("#workers td:nth-child(3)")
        while sum(map(int, await counted.all_inner_texts())) < 3:
            await start(page, "1")
            await expect(rows.first).to_have_class("done")

        for scheme, width in (("dark", 360), ("light", 360)):
            await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await page.close()
