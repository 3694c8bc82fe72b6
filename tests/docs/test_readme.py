"""The README: one screen, whose figures were measured, and whose program and picture are those of the tutorial."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks_of

README, TUTORIAL = Path("README.md"), Path("docs/tutorial.md")
TEXT = " ".join((ROOT / README).read_text(encoding="utf-8").split())
PICTURE = ROOT / "docs/assets/terminal.svg"
LONGEST = 40
_TEXT = "{http://www.w3.org/2000/svg}text"


def test_it_is_one_screen() -> None:
    assert len((ROOT / README).read_text(encoding="utf-8").splitlines()) <= LONGEST, (
        "what does not fit belongs in docs/quickstart.md, docs/tour.md or another page"
    )


@pytest.mark.parametrize(
    ("claim", "row"),
    [
        (r"at least ([\d.]+) x the calls per second of aio_pika's", "relative to aio_pika RPC |"),
        (r"([\d.]+) x those of grpc\.aio", "relative to grpc.aio |"),
        (r"([\d.]+) x those of a client in C", "relative to C on librabbitmq |"),
    ],
)
def test_it_promises_no_more_calls_than_were_measured(claim: str, row: str) -> None:
    (said,) = re.findall(claim, TEXT)
    assert float(said) <= _measured(f"calls/s at 128 in flight, {row}")


def test_it_promises_no_less_cpu_than_was_measured() -> None:
    (said,) = re.findall(r"at ([\d.]+) x the CPU", TEXT)
    assert float(said) >= _measured("CPU per call of the client at 128 in flight, relative to aio_pika RPC |")


def test_what_it_says_of_overload_was_measured() -> None:
    (table,) = re.findall(r"^### Good results\n\n((?:\|.*\n)+)", (ROOT / "docs/overload.md").read_text("utf-8"), re.M)
    rows = {cells[1].strip(): cells[2:-1] for cells in (line.split("|") for line in table.splitlines())}
    (share,) = re.findall(r"a service does (\d+) % of its work", TEXT)
    assert float(rows["RabiBridge"][-1]) >= int(share) / 100 * 500
    assert [float(cell) for cell in rows["aio_pika RPC"][2:]] == [0, 0, 0, 0], (
        "nothing in time from twice its capacity on"
    )


def test_its_commands_are_those_of_the_tutorial() -> None:
    typed = "".join(block.text for block in blocks_of(TUTORIAL) if block.language == "console")
    (commands,) = [block.text.splitlines() for block in blocks_of(README)]
    assert len(commands) == 2
    assert all(command in typed for command in commands)


def test_the_picture_shows_the_service_its_result_a_refusal_and_errors() -> None:
    page = "\n".join(element.text or "" for element in ET.parse(PICTURE).iter(_TEXT))
    (service,) = [block.text for block in blocks_of(TUTORIAL) if block.file == "services.py"]
    for line in filter(None, service.splitlines()[1:]):
        assert line.strip() in page
    for text in (
        "report of customer 7",
        " results, ",
        " refused",
        "serves 1 service",
        "CallTimeoutError",
        "NoRouteError",
    ):
        assert text in page


def _measured(row: str) -> float:
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {row}")]
    return float(line.split("|")[3].removesuffix(" x ").strip())
