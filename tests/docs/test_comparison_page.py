"""The comparison's figures and versions are those of docs/performance.md.

If this fails after `make compare`, bring docs/comparison.md up to date by hand: its sentences may have to change, too.
"""

from __future__ import annotations

import re

from tests.docs.blocks import ROOT

COMPARISON = (ROOT / "docs/comparison.md").read_text(encoding="utf-8")
PERFORMANCE = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
_MEASURED = {
    "aio-pika": "aio-pika",
    "Celery": "celery",
    "FastStream": "faststream",
    "arq": "arq",
    "gRPC": "grpcio",
    "nameko": "nameko",
}


def test_each_figure_stands_in_the_page_of_performance() -> None:
    speed = COMPARISON.partition("## Speed")[2].partition("\n## ")[0]
    rows = [line for line in speed.splitlines() if line.startswith("| ") and "run |" not in line]
    figures = [figure for row in rows for figure in re.findall(r"\d[\d,]*", row.split("|", 2)[2])]
    figures += re.findall(r"nats-py, ([\d,]+\d)", speed)
    assert len(figures) > len(rows)
    assert [figure for figure in figures if not re.search(rf"\| {figure} \(", PERFORMANCE)] == []


def test_the_versions_are_those_that_were_measured() -> None:
    versions = dict(re.findall(r"^\| ([\w-]+)[^|]*\| ([\d.]+) \|", COMPARISON, flags=re.MULTILINE))
    for name, distribution in _MEASURED.items():
        assert re.search(rf"\b{distribution}(?: \| | ){re.escape(versions[name])}\b", PERFORMANCE), name
