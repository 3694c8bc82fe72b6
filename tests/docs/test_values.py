"""The tables of docs/values.md are what this code finds; ``python -m tests.docs.test_values`` writes them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.value_samples import SAMPLES, UNIONS, arrives, numpy_samples, restored, shown

_PAGE = Path(__file__).parents[2] / "docs" / "values.md"
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
_HEAD = "| sent | msgpack | json | annotation | with the annotation |\n|---|---|---|---|---|\n"


def _row(value: Any, annotation: Any, text: str, written: str) -> str:
    by_msgpack, by_json = arrives(value, "msgpack"), arrives(value, "json")
    made = [shown(restored(one, annotation), value) for one in (by_msgpack, by_json) if not isinstance(one, Exception)]
    assert len(set(made)) == 1, (text, made)
    cells = (f"`{text}`", shown(by_msgpack, value), shown(by_json, value), f"`{written}`".replace("|", r"\|"), made[0])
    return f"| {' | '.join(cells)} |\n"


def _tables() -> dict[str, str]:
    samples = {"values": [*SAMPLES, *numpy_samples()], "unions": UNIONS}
    return {name: _HEAD + "".join(_row(*sample) for sample in rows) for name, rows in samples.items()}


def _filled(page: str) -> str:
    tables = _tables()
    return _TABLE.sub(lambda found: found[1] + tables[found[2]] + found[4], page)


@pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="the table has rows for numpy")
def test_the_tables_are_what_arrives() -> None:
    page = _PAGE.read_text(encoding="utf-8")
    assert len(_TABLE.findall(page)) == 2
    assert _filled(page) == page, "python -m tests.docs.test_values writes the tables anew"


@pytest.mark.parametrize(("value", "text"), [(sample[0], sample[2]) for sample in (*SAMPLES, *UNIONS)])
def test_pickle_sends_everything_but_views(value: Any, text: str) -> None:
    assert shown(arrives(value, "pickle"), value) == ("refused" if text.startswith("memoryview") else "as sent")


if __name__ == "__main__":
    _PAGE.write_text(_filled(_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
