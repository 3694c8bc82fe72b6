"""``rabibridge run --profile``: a flame graph of what a process has done."""

from __future__ import annotations

import asyncio
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.own_python import needs_own_python
from tests.support.waiting import soon

if TYPE_CHECKING:
    from rabibridge import RMQClient
    from tests.workers.support import Program

SHOP = """
import time
from rabibridge import register_call


@register_call
async def compute_prices(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(1000))
"""


@pytest.mark.parametrize("name", [pytest.param("shop.svg", marks=needs_own_python), "shop.html"])
async def test_the_profile_of_a_process_names_what_it_has_computed(
    program: Program, client: RMQClient, name: str
) -> None:
    (program.folder / "shop.py").write_text(SHOP)
    with program.command("shop.py", "--profile", name) as running:
        await running.logged(" serves ")
        await soon(client.remote_call("compute_prices", (1,), timeout=60))
        running.send(signal.SIGTERM)
        assert await running.ended() == 0, running.log
        await running.logged(f"the profile is in {program.folder / name}")
    text = (program.folder / name).read_text()
    assert "compute_prices" in text
    assert text.startswith("<?xml" if name.endswith("svg") else "<!DOCTYPE html>")


async def test_each_worker_writes_a_profile_of_its_own(program: Program, client: RMQClient) -> None:
    (program.folder / "shop.py").write_text(SHOP)
    with program.command("shop.py", "--workers", "2", "--profile", "shop.html") as running:
        await running.serves(2)
        workers = running.workers
        await soon(asyncio.gather(*(client.remote_call("compute_prices", (0.1,), timeout=60) for _ in range(20))))
        running.send(signal.SIGTERM)
        assert await running.ended() == 0, running.log
    found = {int(file.name.split(".")[1]): file.read_text() for file in program.folder.glob("shop.*.html")}
    assert found.keys() == workers
    assert any("compute_prices" in text for text in found.values())


@pytest.mark.parametrize(
    ("name", "hides", "error"),
    [
        ("production", "", r"must end in \.svg.*or in \.html.*before the command: rabibridge --profile production run"),
        ("shop.html", "pyinstrument", r"needs pyinstrument, which is not installed: pip install pyinstrument"),
        ("nowhere/shop.html", "", r"there is no folder /.*nowhere"),
    ],
)
async def test_what_cannot_be_written_is_said_before_anything_is_served(
    program: Program, name: str, hides: str, error: str
) -> None:
    (program.folder / "hidden").mkdir(exist_ok=True)
    if hides:
        (program.folder / f"hidden/{hides}.py").write_text(f"raise ImportError({hides!r})\n")
    with program.command(
        "services.py", "--profile", name, variables={"PYTHONPATH": str(program.folder / "hidden")}
    ) as running:
        assert await running.ended() == 3
        assert re.search(error, running.log.replace("\n", " ")), running.log
