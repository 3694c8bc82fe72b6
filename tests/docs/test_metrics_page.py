"""docs/metrics.md lists every metric. ``python -m tests.docs.test_metrics_page`` writes the table."""

from __future__ import annotations

import re
from pathlib import Path

from rabibridge_telemetry._metrics.catalog import CATALOG

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/metrics.md"
_TABLE = re.compile(r"(<!-- metrics -->\n).*?(<!-- /metrics -->)", re.S)


def _table() -> str:
    rows = ["| metric | type | labels | what it is |", "|---|---|---|---|"]
    for family in CATALOG.values():
        labels = ", ".join(f"`{label}`" for label in family.labels)
        rows.append(f"| `{family.sample}` | {family.type} | {labels} | {family.meaning} |")
    return "\n".join(rows) + "\n"


def _written(page: str) -> str:
    return _TABLE.sub(lambda found: f"{found[1]}{_table()}{found[2]}", page)


def test_the_page_lists_every_metric() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == _written(page), "run `python -m tests.docs.test_metrics_page`"


def test_everything_that_is_counted_is_in_the_catalog() -> None:
    """A name that is misspelled in one of the two places would be left out silently."""
    named = set()
    for folder in ("packages/rabibridge-core/src", "packages/rabibridge-telemetry/src"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            named |= set(re.findall(r'reading\.(?:counter|seconds|gauge|longest)\(\s*"(\w+)"', text))
            kinds = "counter|seconds|gauge|longest|histogram|exemplars"
            named |= set(re.findall(rf'(?:Block|Series)\(\s*"(?:{kinds})", "(\w+)"', text))
    assert named == set(CATALOG)


if __name__ == "__main__":
    PAGE.write_text(_written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
