"""A log record of this project is one line, whatever the values in it say, and describing them raises nothing.

Names, headers, reply addresses and errors of a broker come from other programs: none of them can forge a record or
control a terminal, at whatever place and level it is logged.
"""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._reporting.loggers import TextBlock, get_logger
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Iterator

FORGED = "x\n2026-01-01 CRITICAL root: \x1b[31mforged\x1b[0m\r\u202e"


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger of ours, and what a plain handler of the program writes."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger = get_logger("rabibridge.test_loggers")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger, written
    logger.removeHandler(handler)


@pytest.mark.parametrize("value", [FORGED, ConnectionLostError(FORGED), [FORGED], FORGED.encode()])
@pytest.mark.parametrize("template", ["what was said: %s", "what was said: %r", "what was said: %.300s"])
def test_a_value_cannot_forge_a_record(log: tuple[logging.Logger, io.StringIO], template: str, value: object) -> None:
    logger, written = log
    logger.warning(template, value)
    text = written.getvalue()
    assert text.startswith("WARNING rabibridge.test_loggers: what was said: ")
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()
    assert "CRITICAL root" in text


def test_the_message_of_an_exception_cannot_forge_a_record(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, written = log
    try:
        raise LookupError(FORGED)
    except LookupError:
        logger.exception("it failed")
    lines = written.getvalue().splitlines()
    assert lines[0] == "ERROR rabibridge.test_loggers: it failed"
    assert all(line.startswith("  ") for line in lines[1:])
    assert "Traceback" in lines[1]
    assert "\x1b" not in written.getvalue()


class _UntoldError(BaseException):
    def __str__(self) -> str:
        raise SystemExit

    def __repr__(self) -> str:
        raise SystemExit


def test_a_value_that_cannot_be_described_is_told_as_such(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, written = log
    try:
        raise _UntoldError
    except _UntoldError as error:
        logger.error("%s and %r", error, error, exc_info=True)
    first = written.getvalue().splitlines()[0]
    assert first.count("raised SystemExit>") == 2


def test_numbers_and_blocks_of_text_stay_what_they_are(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, written = log
    logger.info("%d of %.1f%s, %r", 3, 4.25, TextBlock("\none\n\x1btwo"), None)
    assert written.getvalue() == "INFO rabibridge.test_loggers: 3 of 4.2  \n  one\n  \\x1btwo, None\n"
