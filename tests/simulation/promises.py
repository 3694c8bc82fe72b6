"""What the engines promise beyond the end of a call: who is told, what is stopped, and what runs at all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rabibridge_core.errors import CallTimeoutError, ConnectionLostError
from tests.simulation.members import ShardedMember
from tests.simulation.services import RUN_TIMEOUT, SERVICES

if TYPE_CHECKING:
    from tests.simulation.checker import Checker, Record, Run

__all__ = ["judge_promises"]

_MUCH = 20.0
"""Seconds that are enough for a call, whatever harmless faults there are."""
_HARMLESS = {
    "lose_all", "lose_client", "lose_worker", "partition_client", "partition_worker", "refuse_connections",
    "freeze_worker", "kill_worker", "stop_worker", "stop_worker_twice", "close_worker", "wall_clock", "deafen_client",
    "deafen_worker", "mute_client", "mute_worker", "sever_client", "sever_worker", "cut_client", "cut_worker",
    "cut_all", "close_connection_client", "close_connection_worker", "close_channel_client", "close_channel_worker",
    "block", "nack",
}  # fmt: skip
"""Faults that take no message away for good."""
_COPIES_AT_ONCE = 4
"""How often a second copy is sent without a pause: those that come to the worker of the first are declined."""
_SOON = 0.3
"""Within how many seconds a function is stopped: deadlines share timers."""
_TOLD = 2.5
"""Within how many seconds workers know that nobody waits for a call any longer: messages may take 0.9 s."""


def judge_promises(checker: Checker) -> None:
    """Check all calls, once everything has ended."""
    for record in checker.records.values():
        runs = [run for run in checker.runs_of(record.call.number) if not run.node.dead]
        if wrong := _judge(checker, record, runs):
            call = record.call
            checker.violated(wrong, f"call {call.number} of {call.service!r} ({call.shape}): {wrong}")


def _judge(checker: Checker, record: Record, runs: list[Run]) -> str:
    return (
        _outlived(checker, record)
        or next(filter(None, (_went_on(checker, record, run) for run in runs)), "")
        or next(filter(None, (_overran(checker, record, run) for run in runs)), "")
        or _hedged(checker, record, runs)
        or _ran_twice_at_once(checker, record, runs)
        or _ran_never(checker, record)
    )


def _undisturbed(checker: Checker, run: Run, record: Record) -> bool:
    """Whether worker and client could talk to each other all the time."""
    disturbed = run.node.stood_still or record.client.node.stood_still or record.client.left_at
    member = checker.world.member_of(run.node)
    return not (
        disturbed or checker.faulty or member.lost_at or record.client.lost_at or member.left_at
        or member.silences or record.client.silences or "alarm" in checker.world.faults
    )  # fmt: skip


def _outlived(checker: Checker, record: Record) -> str:
    """A call that is not sent again ends with its connection."""
    call = record.call
    again = call.options.get("idempotent") or call.options.get("key") or SERVICES[call.service].idempotent
    sent_at = checker.sent_at.get(call.number)
    elsewhere = isinstance(record.client, ShardedMember)  # it may be sent by the other connection
    if again or elsewhere or sent_at is None or record.ended is None or call.shape not in ("call", "progress"):
        return ""
    if call.options.get("retry") or record.client.node.stood_still or isinstance(record.error, ConnectionLostError):
        return ""
    for lost_at in record.client.lost_at:
        if sent_at < lost_at and record.ended > lost_at + _TOLD:
            return "it has outlived its connection"
    return ""


def _went_on(checker: Checker, record: Record, run: Run) -> str:
    """A function is stopped when its caller has gone, or the time of the call is over."""
    call = record.call
    if call.shape in ("notify", "map") or call.how in ("deaf", "stubborn") or call.service == "threaded":
        return ""
    over, told = record.began + call.timeout, math.inf
    if record.cancelled_at is not None and not call.options.get("persistent"):
        told = record.cancelled_at
    elif record.cancelled_at is not None:
        return ""
    if "hedge" in call.options and record.ended is not None:
        told = min(told, record.ended)
    born = checker.world.member_of(run.node).born
    if born > checker.world.plan.start + 0.1 and born + _TOLD > told:
        told = math.inf  # it was not there to be told
    over = min(over, told)
    if not _undisturbed(checker, run, record):
        return ""
    if (run.ended or checker.world.loop.time()) > over + _TOLD:
        return "the function runs on although nobody waits"
    return ""


def _overran(checker: Checker, record: Record, run: Run) -> str:
    """A function is stopped when it has run for as long as its service allows."""
    if record.call.service != "hurried" or record.call.how in ("deaf", "stubborn") or run.node.stood_still:
        return ""
    took = (run.ended or checker.world.loop.time()) - run.began
    return "it ran longer than its run_timeout" if took > RUN_TIMEOUT + _SOON else ""


def _hedged(checker: Checker, record: Record, runs: list[Run]) -> str:
    """Second copies go to other workers, and are sent only of calls that may run twice."""
    call, copies = record.call, checker.hedged[record.call.number]
    again = call.options.get("idempotent") or SERVICES[call.service].idempotent
    if copies and not ("hedge" in call.options and again):
        return "a second copy was sent"
    if copies:  # after those, each pause is as long as the call has taken
        took = (record.ended or checker.world.loop.time()) - record.began
        if copies > _COPIES_AT_ONCE + 1 + max(0.0, math.log2(took / call.options["hedge"])):
            return f"{copies} second copies were sent"
    busy: dict[str, float] = {}
    for run in runs if copies else ():
        if run.began < busy.get(run.node.name, 0.0) and not record.client.lost_at:
            return "a worker runs both copies"
        busy[run.node.name] = run.ended or checker.world.loop.time()
    return ""


def _ran_twice_at_once(checker: Checker, record: Record, runs: list[Run]) -> str:
    """Of the requests with one key, a worker runs one, and answers the others with its result."""
    call = record.call
    if not (call.options.get("idempotent") or call.options.get("key")) or call.shape == "map":
        return ""
    done: dict[str, float] = {}
    for run in runs:
        if run.node.name in done and run.began >= done[run.node.name]:
            return "a worker has run it again although it has the result"
        if run.how == "done" and run.ended is not None and record.cancelled_at is None and call.how == "ok":
            done[run.node.name] = run.ended
    return ""


def _ran_never(checker: Checker, record: Record) -> str:
    """A notification that the broker has on its disk runs, and a call with much time is answered."""
    call = record.call
    if call.shape == "notify" and record.error is None:
        waits = not checker.runs_of(call.number)
    else:
        waits = call.shape in ("call", "progress", "stream", "upload") and isinstance(record.error, CallTimeoutError)
    if not waits or call.timeout < _MUCH or "idle_timeout" in call.options or _held_up(checker, record):
        return ""
    return "nothing has held it up, and it was not done"


def _held_up(checker: Checker, record: Record) -> bool:
    """Whether faults may have taken a message, or so much time that a call need not be done in its own."""
    world, service = checker.world, record.call.service
    return bool(
        not world.plan.ending or set(world.faults) - _HARMLESS or SERVICES[service].at_most_once
        or sum(fault.seconds for fault in world.plan.faults) > 8.0
        or checker.running_long(service)
        or record.client.node.stood_still
    )  # fmt: skip
