"""Log records as JSON, and the files that say what the log looks like."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

import pytest

from rabibridge.cli.logs import configure_logging
from rabibridge_core._reporting.json_log import JsonLogFormatter
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def _log_of_before() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def test_a_record_is_one_line_with_everything_that_it_holds() -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        record = logging.getLogger("shop").makeRecord(
            "shop", logging.WARNING, __file__, 1, "two\nlines of %s", ("\x1b[31mred",), sys.exc_info(), "f",
            {"order": 7, "odd": {1}},
        )  # fmt: skip
    line = JsonLogFormatter(worker=3).format(record)
    assert line.isascii()
    assert line.isprintable()
    told = json.loads(line)
    assert told["time"].endswith("+00:00")
    assert told["exception"].endswith("ValueError: boom")
    del told["time"], told["exception"]
    assert told == {
        "level": "WARNING",
        "logger": "shop",
        "message": "two\nlines of \x1b[31mred",
        "process": record.process,
        "worker": 3,
        "order": 7,
        "odd": "{1}",
    }


@pytest.mark.usefixtures("_log_of_before")
def test_a_file_says_what_the_log_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "log.toml"
    path.write_text('[root]\nlevel = "ERROR"\n')
    configure_logging("INFO", "text", str(path), supervised=False)
    assert logging.root.level == logging.ERROR


@pytest.mark.parametrize(
    ("name", "text"),
    [("log.json", "{"), ("log.toml", '[root]\nlevel = "LOUD"\n'), ("log.ini", "x"), ("none.json", None)],
)
@pytest.mark.usefixtures("_log_of_before")
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, text: str | None) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=f"log_config .*{name}: "):
        configure_logging("INFO", "text", str(path), supervised=False)
