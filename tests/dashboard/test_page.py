"""The page in a browser, over states made by hand: what it shows, keys, and texts that would be markup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

from tests.dashboard.server import Letters, States, application, empty_state, serving

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "</script><img src=x onerror=window.stolen=1><svg onload=window.stolen=2>\"'`${1}\u202egpj.exe\x1b[31m"


def service(name: str = "add", **changes: Any) -> dict[str, Any]:
    return {
        "id": f"async {name}",
        "name": name,
        "title": name,
        "signature": "(a: int, b: int) -> int",
        "doc": "Add two numbers.",
        "workers": 2,
        "rate": 120.0,
        "failing": 0.0,
        "refused": 0,
        "p50": 0.0021,
        "p99": 0.014,
        "inHand": 3,
        "places": 16,
        "waiting": 40,
        "bound": 100,
        "calls": 12345,
        "errors": 0,
        **changes,
    }


def worker(name: str = "RMQServer@host:1", **changes: Any) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "state": "ready",
        "host": "host",
        "pid": 1,
        "version": "1.0",
        "uptime": 60.0,
        "inHand": 1,
        "lag": 0.001,
        "memory": 50 * 2**20,
        "cpu": 0.25,
        "cpuSeconds": 3.0,
        "services": 1,
        **changes,
    }


def error(**changes: Any) -> dict[str, Any]:
    return {
        "service": "add",
        "worker": "w",
        "time": 1_800_000_000.0,
        "kind": "failed",
        "type": "ValueError",
        "message": "no such account",
        "traceback": "Traceback:\n  line 1\nValueError: no such account",
        "count": 3,
        **changes,
    }


def letter(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "position": number,
        "service": "add",
        "reason": "redelivered too often",
        "time": 1_800_000_000.0,
        "deaths": 1,
        "left": 12.0,
        "size": 123,
        "ours": True,
        **changes,
    }


async def opened(browser: Browser, port: int, path: str = "/") -> Page:
    page = await browser.new_page(viewport={"width": 1200, "height": 800})
    page.set_default_timeout(60_000)
    await page.goto(f"http://localhost:{port}{path}")
    return page


async def shows_state(page: Page) -> None:
    await expect(page.locator("#totals")).to_contain_text("workers", timeout=60_000)


async def test_the_page_shows_services_workers_and_errors_and_is_used_with_keys(chromium: Browser) -> None:
    state = empty_state(
        services=[service("add"), service("report", rate=3.0, failing=1.5)], workers=[worker()], errors=[error()]
    )
    states = States(state)
    async with serving(application(states), states) as port:
        page = await opened(chromium, port)
        rows = page.locator("#services-table tbody tr")
        await expect(rows).to_have_count(2, timeout=60_000)
        await expect(page.locator("#broker")).to_contain_text("rabbit-1")

        await page.keyboard.press("/")
        await page.keyboard.type("rep")
        await expect(rows).to_have_count(1)
        await page.keyboard.press("Escape")
        await expect(rows).to_have_count(2)

        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Enter")
        await expect(page.locator("#service-name")).to_have_text("add")
        await expect(page.locator("#service-signature")).to_contain_text("(a: int, b: int) -> int")
        await expect(page.locator("#plots figure")).to_have_count(4)
        await expect(page.locator("#service-errors summary")).to_contain_text("ValueError: no such account (3 times)")

        await expect(page.locator("#service-rate")).to_be_empty()

        await page.keyboard.press("2")
        await expect(page.locator("#workers-table tbody tr")).to_have_count(1)
        await page.keyboard.press("3")
        await page.locator("#errors-list summary").click()
        await expect(page.locator("#errors-list pre")).to_contain_text("line 1")

        await page.keyboard.press("1")
        states.publisher.publish(empty_state(time=1_800_000_001.0, services=[service("multiply")]))
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text("multiply")

        assert await page.evaluate("document.documentElement.dataset.theme") == "light"
        await page.keyboard.press("t")
        assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
        await page.keyboard.press("?")
        await expect(page.locator("#help")).to_be_visible()


async def test_the_rate_of_a_service_is_beside_its_calls(chromium: Browser) -> None:
    limited = service(rateLimit=300.0, rateShare=150.0, rateWaiting=7, rateRefused=2)
    rare = service("report", rate=0.0, rateLimit=1 / 86400, rateShare=1 / 86400, rateWaiting=0, rateRefused=0)
    async with serving(application(States(empty_state(services=[limited, rare])))) as port:
        page = await opened(chromium, port)
        rows = page.locator("#services-table tbody tr")
        await expect(rows.nth(0)).to_contain_text("120 / 300")
        await expect(rows.nth(1)).to_contain_text("0 / 0.000012")
        await rows.nth(0).click()
        await expect(page.locator("#service-rate")).to_have_text(
            "At most 300 calls start in one second, 150 of them on the workers that answer. "
            "7 wait for their turn, 2 were refused."
        )
        await expect(page.locator("#plots figure").nth(0)).to_contain_text("at most")


async def test_texts_of_workers_callers_and_brokers_are_never_markup(chromium: Browser) -> None:
    texts = [key for key, value in service().items() if isinstance(value, str)]
    hostile = empty_state(
        broker=HOSTILE,
        services=[service(**dict.fromkeys(texts, HOSTILE))],
        workers=[worker(HOSTILE, state=HOSTILE, host=HOSTILE, version=HOSTILE)],
        errors=[error(**{key: HOSTILE for key in ("service", "worker", "type", "message", "traceback")})],
        notes=[HOSTILE],
    )
    letters = Letters(letter(1, service=HOSTILE, reason=HOSTILE, id=HOSTILE))
    states = States(hostile)
    async with serving(application(states, letters), states) as port:
        page = await opened(chromium, port)
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text))
        page.on("dialog", lambda dialog: refused.append(dialog.message))
        await page.locator("#services-table tbody tr").click()
        await expect(page.locator("#service-name")).to_contain_text("</script>")
        for key, table in (("2", "#workers-table tbody tr"), ("4", "#dead-table tbody tr")):
            await page.keyboard.press(key)
            await expect(page.locator(table)).to_have_count(1)
        await page.keyboard.press("3")
        await page.locator("#errors-list summary").click()
        await expect(page.locator("#errors-list pre")).to_contain_text("onerror")
        everything = await page.locator("body").inner_text()
        images = await page.locator("main img, main svg[onload]").count()

        assert await page.evaluate("window.stolen") is None
        assert images == 0
        assert "\u202e" not in everything
        assert "\x1b" not in everything
        assert "\\u{202e}" in everything
        assert refused == []


async def test_eight_tabs_of_one_browser_all_show_what_changes(chromium: Browser) -> None:
    states = States(empty_state(services=[service("first")]))
    async with serving(application(states), states) as port:
        context = await chromium.new_context()
        pages = []
        for _ in range(8):
            page = await context.new_page()
            await page.goto(f"http://localhost:{port}/")
            pages.append(page)
        for page in pages:
            await expect(page.locator("#services-table tbody tr")).to_contain_text("first", timeout=60_000)
        states.publisher.publish(empty_state(time=1_800_000_001.0, services=[service("second")]))
        for page in pages:
            await expect(page.locator("#services-table tbody tr")).to_contain_text("second", timeout=60_000)
        await context.close()


async def test_dead_letters_are_requeued_after_a_question(chromium: Browser) -> None:
    letters = Letters(letter(1), letter(2, ours=False), letter(3))
    states = States(empty_state(actions=True))
    async with serving(application(states, letters, allow_actions=True), states) as port:
        page = await opened(chromium, port)
        questions: list[str] = []

        async def accept(dialog: Any) -> None:
            questions.append(dialog.message)
            await dialog.accept()

        page.on("dialog", accept)
        await shows_state(page)
        await page.keyboard.press("4")
        boxes = page.locator("#dead-table input")
        await expect(boxes).to_have_count(2, timeout=60_000)
        await boxes.nth(1).check()
        await page.locator("#dead-timeout").fill("60")
        await page.locator("#dead-requeue").click()
        await expect(page.locator("#dead-said")).to_contain_text("1 requeued", timeout=60_000)

    assert letters.requeued == ["3"]
    assert letters.timeout == 60
    assert "1 dead letter" in questions[0]


async def test_the_token_leaves_the_address_bar(chromium: Browser) -> None:
    token = "a-token-of-some-length"
    states = States(empty_state(services=[service()]))
    async with serving(application(states, token=token), states) as port:
        page = await opened(chromium, port, f"/?token={token}")
        await expect(page.locator("#services-table tbody tr")).to_have_count(1, timeout=60_000)

        assert page.url == f"http://localhost:{port}/"
        assert await page.evaluate("document.cookie") == ""


async def test_a_visitor_without_the_token_can_type_it(chromium: Browser) -> None:
    token = "a-token-of-some-length"
    states = States(empty_state(services=[service()]))
    async with serving(application(states, token=token), states) as port:
        page = await opened(chromium, port)
        await page.locator("input[name=token]").fill("a-wrong-token-of-some-length")
        await page.keyboard.press("Enter")
        await expect(page.locator("p")).to_contain_text("not the token")
        await page.locator("input[name=token]").fill(token)
        await page.keyboard.press("Enter")
        await expect(page.locator("#services-table tbody tr")).to_have_count(1, timeout=60_000)
