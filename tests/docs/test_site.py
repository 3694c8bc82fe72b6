"""The documentation site as `make docs` builds it."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.support.chromium import ARGUMENTS, chromium_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

pytest.importorskip("zensical")
playwright = pytest.importorskip("playwright.sync_api")

from tests.packaging.test_public_names import MODULES, current_names  # noqa: E402
from tools.site import reference, sources  # noqa: E402
from tools.site.build import build  # noqa: E402

WIDTHS = (390, 1280)
PAGES = ("index", "calls", "configuration", "protocol", "reference/rabibridge")


@pytest.fixture(scope="module")
def site() -> Path:
    """Build it strictly: what is wrong with a link or a name ends the build."""
    return build()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = chromium_program()
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


def test_the_reference_has_every_public_name(site: Path) -> None:
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    described = {line.split()[0] for line in inventory.splitlines()}
    public = {name.replace(":", ".") for name in current_names() if name.partition(":")[0] not in reference.PLUGINS}
    assert public - described == {"rabibridge.__version__"}


def test_every_public_module_has_a_page_or_is_left_out_on_purpose() -> None:
    pages = {module for modules in reference.GROUPS.values() for module in modules}
    assert pages | set(reference.PLUGINS) == set(MODULES)


def test_every_page_is_in_the_navigation(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    linked = {link.removeprefix("./") for link in re.findall(r'href="([^"]+)"', home)}
    assert {str(path.relative_to(sources.ROOT / "docs").with_suffix(".html")) for path in sources.pages()} <= linked


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_page(site: Path, browser: Browser, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    for name in PAGES:
        page.set_viewport_size({"width": WIDTHS[0], "height": 900})
        page.goto(f"file://{site}/{name}.html")
        for width in WIDTHS:  # loading a page takes longer than laying it out
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("window.innerWidth") == width
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (name, width)
    context.close()


def test_the_search_works_from_a_folder_without_a_network(site: Path, browser: Browser) -> None:
    context = browser.new_context(offline=True)
    page = context.new_page()
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.goto(f"file://{site}/index.html")
    field = page.get_by_placeholder("Search")
    field.wait_for(state="attached", timeout=60_000)
    page.keyboard.press("Control+k")
    for word, heading in (("idempotent", "Idempotent calls"), ("poison", "Poison"), ("rb-deadline", "Deadlines")):
        field.fill("", timeout=60_000)
        field.press_sequentially(word)  # as a reader types
        page.get_by_text(heading, exact=True).first.wait_for(timeout=60_000)
        assert field.input_value() == word
    assert failed == []
    context.close()
