"""docs/transports.md and docs/conformance.md tell which guarantee is tested on which transport.

``python -m tests.docs.test_conformance_page`` writes both tables. That a test which is said to run is not skipped is
checked where it runs, in tests/conformance/conftest.py.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.conformance_table import MODULES, Guarantee, guarantees, sentence

ROOT = Path(__file__).parents[2]
SUMMARY, DETAILS = ROOT / "docs/transports.md", ROOT / "docs/conformance.md"
_TABLE = re.compile(r"(<!-- conformance -->\n).*?(<!-- /conformance -->)", re.S)
_HEAD = f"| {' | '.join(MODULES)} |"


def _summary(found: list[Guarantee]) -> str:
    rows = [f"| tests | {_HEAD}", f"|---|{'---:|' * len(MODULES)}"]
    notes: dict[str, str] = {}
    for test_class, about in dict.fromkeys((one.test_class, one.about) for one in found):
        tests = [one for one in found if one.test_class == test_class]
        cells = []
        for transport in MODULES:
            reasons = dict.fromkeys(one.skipped[transport] for one in tests if transport in one.skipped)
            marks = "".join(f" ({notes.setdefault(why, str(len(notes) + 1))})" for why in reasons)
            cells.append(f"{sum(transport not in one.skipped for one in tests)}{marks}")
        rows.append(f"| {about.rstrip('.')} | {' | '.join(cells)} |")
    totals = [str(sum(transport not in one.skipped for one in found)) for transport in MODULES]
    rows.append(f"| all, of {len(found)} | {' | '.join(totals)} |")
    text = "\n".join(rows).replace("| |", "|") + "\n"
    return text + "".join(f"\n({number}) The rest is skipped: {why}.\n" for why, number in notes.items())


def _details(found: list[Guarantee]) -> str:
    parts = []
    for test_class, about in dict.fromkeys((one.test_class, one.about) for one in found):
        rows = [f"| {about.rstrip('.')} | {_HEAD}", f"|---|{'---|' * len(MODULES)}"]
        for one in found:
            if one.test_class == test_class:
                cells = [one.skipped.get(transport, "passes") for transport in MODULES]
                rows.append(f"| {sentence(one.test)} | {' | '.join(cells)} |")
        parts.append("\n".join(rows).replace("| |", "|") + "\n")
    return "\n".join(parts)


def _written(page: Path, table: str) -> str:
    return _TABLE.sub(lambda found: f"{found[1]}{table}{found[2]}", page.read_text(encoding="utf-8"))


def test_the_pages_tell_what_is_tested_on_which_transport() -> None:
    found = guarantees()
    for page, table in ((SUMMARY, _summary(found)), (DETAILS, _details(found))):
        assert table in page.read_text(encoding="utf-8"), "run `python -m tests.docs.test_conformance_page`"


def test_every_transport_runs_nearly_everything() -> None:
    """What a transport cannot do is an exception that has its reason, and not a habit."""
    found = guarantees()
    assert len(found) > 300
    for transport in MODULES:
        skipped = [one for one in found if transport in one.skipped]
        assert len(skipped) <= len(found) // 20, [one.test for one in skipped]
        assert not [one.test for one in skipped if "is missing" in one.skipped[transport]], "give a reason to bind()"


if __name__ == "__main__":
    everything = guarantees()
    SUMMARY.write_text(_written(SUMMARY, _summary(everything)), encoding="utf-8")
    DETAILS.write_text(_written(DETAILS, _details(everything)), encoding="utf-8")
