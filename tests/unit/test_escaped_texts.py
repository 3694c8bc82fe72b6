"""What other programs say reaches no terminal and no log raw, also where Python itself prints an error."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._codec.codec import Codec
from rabibridge_core._protocol.payloads import decode_reply
from rabibridge_core._reporting.error_text import block, printable, told
from rabibridge_core.errors import RemoteExecutionError
from rabibridge_core.transport import Reply
from tests.support.waiting import soon
from tests.unit.process_support import served

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers

HOSTILE = "\x1b[31m\x1b]0;title\x07\r\x00\u202e\x9b2J\u2028"
"""Colours, the title of a terminal, a bell, a return, NUL, right-to-left, an 8-bit CSI, and a line separator."""
FORGED = f"{HOSTILE}\n2026-01-01 CRITICAL root: forged"


def _shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error.with_traceback(None))) + str(error) + repr(error)


def _check(text: str) -> None:
    assert [char for char in text if not char.isprintable() and char != "\n"] == []
    assert not any(line.startswith("2026-01-01") for line in text.split("\n")), "no line of its making"
    assert "\\x1b[31m" in text


@pytest.mark.parametrize("helper", [printable, told, block])
def test_the_helpers_leave_nothing_that_controls_a_terminal(helper: Any) -> None:
    _check(helper(f"text {FORGED}"))


async def test_an_exception_of_a_worker_that_python_prints(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        error = ValueError(FORGED)
        error.add_note(FORGED)
        raise error from LookupError(FORGED)

    async with served(fails, executor="loop") as (_, client):
        with pytest.raises(RemoteExecutionError) as failed:
            await soon(client.remote_call("fails"))
    _check(_shown(failed.value))
    _check(failed.value.remote_traceback.replace("\n2026", "\n  2026"))
    assert failed.value.error_message == FORGED, "a program that compares it gets it as it is"
    for record in caplog.records:
        for line in record.getMessage().split("\n") + (record.exc_text or "  ").split("\n")[1:]:
            assert line.isprintable()
            assert not line.startswith("2026-01-01")


@pytest.mark.parametrize("field", ["rb-error", "rb-error-type", "rb-error-types", "rb-error-message", "body"])
def test_a_reply_of_a_hostile_worker(field: str) -> None:
    headers: Headers = {
        "rb-error": "execution",
        "rb-error-type": "a.B",
        "rb-error-types": "a.B",
        "rb-error-message": "m",
    }
    body = Codec().encode([1, FORGED if field == "body" else "text"], b"")
    with pytest.raises(RemoteExecutionError) as failed:
        decode_reply(Codec(), Reply(*body, {**headers, field: FORGED}), "name", b"1")
    text = _shown(failed.value)
    _check(text + "\\x1b[31m")
