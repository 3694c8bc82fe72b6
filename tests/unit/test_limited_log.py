"""No flood of events is a flood of lines."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    import pytest

log = logging.getLogger("tests.limited_log")


async def test_a_flood_is_one_line_and_a_count_and_hides_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    limited = LimitedLog(log, 0.2)
    for number in range(1_000):
        limited.log("a garbled message", logging.WARNING, "garbled: %d", number, extra=log_fields("x.garbled"))
    limited.log("a late reply", logging.WARNING, "late", extra=log_fields("x.late"))
    assert caplog.messages == ["garbled: 0", "late"]
    await soon(until(lambda: len(caplog.records) == 3))
    assert caplog.messages[2] == "999 more times within 0.2 s: a garbled message"
    assert vars(caplog.records[2])["rb_suppressed"] == 999
    assert vars(caplog.records[2])["rb_event"] == "x.garbled"


def test_the_memory_of_a_limit_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    limited = LimitedLog(log, 10.0, lambda: now[0])
    for number in range(10_000):
        limited.log(f"kind {number}", logging.WARNING, "line %d", number, extra=log_fields("x.y"))
    assert len(limited._kinds) == 65
    assert len(caplog.records) == 65
    now[0] = 11.0
    limited.log("another kind", logging.WARNING, "news", extra=log_fields("x.y"))
    assert caplog.messages[-2:] == ["9935 more times within 10 s: lines of yet other kinds", "news"]


def test_a_handler_that_logs_again_is_not_locked_out() -> None:
    limited = LimitedLog(log)

    class Again(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            limited.log("inner", logging.ERROR, "inner", extra=log_fields("x.y"))

    handler = Again()
    log.addHandler(handler)
    try:
        done = threading.Thread(
            target=lambda: limited.log("outer", logging.ERROR, "outer", extra=log_fields("x.y")), daemon=True
        )
        done.start()
        done.join(30)
        assert not done.is_alive()
    finally:
        log.removeHandler(handler)
