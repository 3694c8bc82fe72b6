"""What the answers of the broker mean for a call: it must not wait on for what will not come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.errors import CallTimeoutError
from tests.simulation.services import SERVICES

if TYPE_CHECKING:
    from tests.simulation.checker import Checker, Record

__all__ = ["judge_answers", "judge_silence"]

_TOLD = 3.0
"""Within how many seconds a client has the answer to a message: one may take 0.4 s, and its bytes 0.9 s."""


def judge_answers(checker: Checker, answers: dict[int, tuple[float, str]]) -> None:
    """Check that no call has timed out although the broker has told its client how it ends."""
    for number, (at, outcome) in answers.items():
        record = checker.records.get(number)
        if record is None or record.ended is None or not isinstance(record.error, CallTimeoutError):
            continue
        ends = (outcome == "taken" and record.call.shape == "notify") or outcome != "taken"
        if ends and record.ended > at + _TOLD and not _disturbed(checker, record):
            call = record.call
            checker.violated(
                "not told", f"the request of call {number} of {call.service!r} was {outcome}, and it waited on"
            )


def judge_silence(checker: Checker, silent: dict[int, float]) -> None:
    """Check that no worker has taken a request for good without a reply, while its caller waited for one."""
    for number, at in silent.items():
        record = checker.records.get(number)
        if record is None or record.ended is None or not isinstance(record.error, CallTimeoutError):
            continue
        waited = record.cancelled_at is None and record.ended > at + _TOLD
        if waited and not SERVICES[record.call.service].at_most_once and not _disturbed(checker, record):
            call = record.call
            checker.violated("no reply", f"the request of call {number} of {call.service!r} was acknowledged at {at}")


def _disturbed(checker: Checker, record: Record) -> bool:
    """Whether the client may not have got the answer, or sends the request again."""
    client = record.client
    again = record.call.options.get("retry")
    return bool(again or client.lost_at or client.left_at or client.silences or client.node.stood_still)
