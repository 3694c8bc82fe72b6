"""Which ends are allowed for a call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge import errors as mq_errors
from rabibridge_core.errors import (
    CallTimeoutError,
    ConnectionLostError,
    InvalidArgumentsError,
    NoRouteError,
    QueueFullError,
    RemoteExecutionError,
    RunTimeoutError,
    SerializationError,
    StreamError,
)
from tests.simulation.plan import WORKERS
from tests.simulation.services import RUN_TIMEOUT, SERVICES, UNSERVED, answer, item

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.checker import Checker, Record, Run

__all__ = ["LATE", "judge_call", "judge_runs"]

LATE = 1.5
"""By how much a call may end after its timeout, in seconds: deadlines share timers, and the error is explained."""
_SLACK = 1e-6


def judge_call(checker: Checker, record: Record) -> None:
    """Check how a call has ended."""
    error = record.error
    name = "result" if error is None else type(error).__name__
    checker.ends[f"{record.call.shape}: {name}"] += 1
    wrong = _judge_result(checker, record) if error is None else _judge_error(checker, record, error)
    wrong = wrong or _judge_items(checker, record) or _judge_time(checker, record)
    if wrong:
        checker.violated(f"{record.call.shape}: {name}", f"{_described(record)}: {wrong}")


def _described(record: Record) -> str:
    end = f"{record.result!r}" if record.error is None else f"{type(record.error).__name__}: {record.error}"
    return f"call {record.call.number} of {record.call.service!r} ({record.call.shape}) ended with {end}"


def _judge_result(checker: Checker, record: Record) -> str:
    call, got = record.call, record.got
    if call.how == "raise" and call.shape not in ("notify", "broadcast", "map"):
        return "the function raises"
    if call.shape in ("call", "progress"):
        if record.result != answer(call.number):
            return "another result was returned"
    elif call.shape == "upload":
        if record.result != sum(item(call.number, index) for index in range(call.count)):
            return "not all items were counted"
    elif call.shape == "stream":
        if len(got) != call.count:
            return f"{len(got)} items of {call.count} came"
    elif call.shape == "map":
        if len(got) != call.count:
            return f"{len(got)} results of {call.count} came"
    else:
        return ""
    numbers = [call.number + (index + 1) * 100 for index in range(call.count)] if call.shape == "map" else [call.number]
    for number in numbers:
        if not any(run.how == "done" for run in checker.runs_of(number)):
            return "the function has not returned"
    late = all(_too_long(run) for run in checker.runs_of(call.number) if run.how == "done")
    if call.service == "hurried" and late and not checker.world.worker_trouble():  # one that stops lets functions end
        return "it ran longer than its run_timeout"
    return ""


def _too_long(run: Run) -> bool:
    return run.ended is not None and run.ended - run.began > RUN_TIMEOUT + 0.3 and not run.node.stood_still


def _judge_items(checker: Checker, record: Record) -> str:
    call, got = record.call, record.got
    if call.shape == "stream":
        if got != [item(call.number, index) for index in range(len(got))]:
            return f"its items are {got}"
        received = getattr(record.error, "received", None)
        if received is not None and received != len(got):
            return f"received is {received}, and {len(got)} items came"
    elif call.shape == "map":
        if got != [answer(call.number + (index + 1) * 100) for index in range(len(got))]:
            return f"its results are {got}"
    elif call.shape == "progress":
        overtaken = "delay_replies" in checker.faulty  # which no broker does
        if got != sorted(got) and len(checker.runs_of(call.number)) < 2 and not overtaken:
            return f"its progress is {got}"
    elif call.shape == "broadcast":
        workers = [worker for worker, _, _ in got]
        if len(set(workers)) != len(workers) and "duplicate_replies" not in checker.faulty:
            return f"its answers come from {workers}"
        for _, error, result in got:
            if error is None and result != answer(call.number):
                return f"an answer is {result!r}"
    return ""


def _judge_time(checker: Checker, record: Record) -> str:
    assert record.ended is not None
    took = record.ended - record.began
    node = record.client.node
    if any(end > record.began for _, end in node.stood_still):
        return ""
    reading = 0.04 * len(record.got) if record.call.shape == "stream" else 0.0  # what has come in time is read later
    if took > record.call.timeout * (4 if record.call.shape == "map" else 1) + LATE + reading:
        return f"it took {took:.3f} s with timeout={record.call.timeout}"
    return ""


def _judge_error(checker: Checker, record: Record, error: BaseException) -> str:
    executed = getattr(error, "executed", None)
    number = record.call.number
    if executed is False and record.call.shape != "map" and checker.runs_of(number) and not _twins(checker):
        return "executed is False, and the function was called"
    if executed is True and record.call.shape not in ("map",) and not checker.runs_of(number):
        return "executed is True, and the function was not called"
    for kind, judge in _JUDGES.items():
        if type(error) is kind:
            return judge(checker, record, error)
    return f"no call may end so ({type(error).__name__})"


def _twins(checker: Checker) -> bool:
    """Whether a fault has made a second request of one, so that one may run and the other be refused."""
    return "duplicate_requests" in checker.faulty


def _client_lost(record: Record) -> bool:
    client = record.client
    ended = record.ended or 0.0
    return any(record.began - _SLACK <= at <= ended + _SLACK for at in (*client.lost_at, *client.left_at)) or (
        bool(client.left_at) and client.left_at[0] <= ended
    )


def _timeout(checker: Checker, record: Record, error: BaseException) -> str:
    took = (record.ended or 0.0) - record.began
    limit = min(record.call.timeout, record.call.options.get("idle_timeout", record.call.timeout))
    return f"it ended after {took:.6f} s with timeout={limit}" if took < limit - _SLACK else ""


def _lost(checker: Checker, record: Record, error: BaseException) -> str:
    if _client_lost(record):
        return ""
    if SERVICES[record.call.service].at_most_once and (checker.world.worker_trouble() or checker.faulty):
        return ""
    return "its client has not lost its connection"


def _full(checker: Checker, record: Record, error: BaseException) -> str:
    if SERVICES[record.call.service].bounded or "refuse_full" in checker.faulty:
        return ""
    return "its queue has no bound"


def _no_route(checker: Checker, record: Record, error: BaseException) -> str:
    if record.call.service == UNSERVED:
        return ""
    if "refuse_route" in checker.faulty or checker.route_lost_at or _twins(checker):  # both twins may be refused
        return ""
    if record.call.shape == "broadcast" and checker.world.worker_trouble():
        return ""
    return "its queue exists"


def _remote(checker: Checker, record: Record, error: BaseException) -> str:
    assert isinstance(error, RemoteExecutionError)
    if record.call.how == "raise" and error.error_type == "builtins.ValueError":
        return ""
    if record.call.how in ("cancel", "deaf", "stubborn") and "Cancelled" in error.error_type:
        return "" if record.call.how == "cancel" else "the function was not cancelled by itself"
    if SERVICES[record.call.service].at_most_once and "the worker stopped before it began this call" in str(error):
        return "" if checker.world.worker_trouble() else "no worker has stopped"
    if "redelivery_limit" in str(error) and len(checker.runs_of(record.call.number)) > 1:
        return ""
    return f"the function does not raise that: {error.error_type}"


def _ran_out(checker: Checker, record: Record, error: BaseException) -> str:
    runs = checker.runs_of(record.call.number)
    if record.call.service != "hurried":
        return "its service has no run_timeout"
    if any((run.ended or checker.world.loop.time()) - run.began > RUN_TIMEOUT - _SLACK for run in runs):
        return ""
    return "it ran for less than its run_timeout"


def _serialization(checker: Checker, record: Record, error: BaseException) -> str:
    return "" if "corrupt_replies" in checker.faulty else "no reply was damaged"


def _cancelled(checker: Checker, record: Record, error: BaseException) -> str:
    return "" if record.cancelled_at is not None else "nobody has cancelled it"


def _stream(checker: Checker, record: Record, error: BaseException) -> str:
    if record.call.shape not in ("stream", "upload"):
        return "it is no stream"
    trouble = checker.world.worker_trouble() or checker.faulty or record.client.lost_at
    return "" if trouble or checker.stranded() else "nothing has gone wrong"


def _arguments(checker: Checker, record: Record, error: BaseException) -> str:
    return "its arguments fit"


_JUDGES: dict[type[BaseException], Callable[[Checker, Record, BaseException], str]] = {
    CallTimeoutError: _timeout,
    ConnectionLostError: _lost,
    QueueFullError: _full,
    NoRouteError: _no_route,
    RemoteExecutionError: _remote,
    RunTimeoutError: _ran_out,
    SerializationError: _serialization,
    StreamError: _stream,
    InvalidArgumentsError: _arguments,
    asyncio.CancelledError: _cancelled,
    mq_errors.QueueFullError: _full,
    mq_errors.NoRouteError: _no_route,
}


def judge_runs(checker: Checker) -> None:
    """Check how often each function has run."""
    for number, runs in checker.runs.items():
        service = SERVICES[runs[0].service]
        if service.at_most_once and len(runs) > 1 and not _twins(checker):
            checker.violated("at most once", f"call {number} of {runs[0].service!r} has run {len(runs)} times")
        if len({run.node.broker for run in runs}) > 1 and not _may_repeat(checker, number):
            checker.violated("two brokers", f"call {number} of {runs[0].service!r} has run at two brokers")
        quiet = not (checker.world.worker_trouble() or checker.faulty or checker.stranded())
        record = checker.records.get(number)
        most = WORKERS if runs[0].service == "everywhere" or checker.hedged[number] else 1
        begun = sum(run.began < checker.world.closed_at for run in runs)  # workers that close give calls to each other
        if quiet and begun > most and record is not None and not record.client.lost_at:
            checker.violated("ran twice", f"call {number} of {runs[0].service!r} has run {len(runs)} times, in calm")
        for run in runs:
            wanted = [item(number, index) for index in range(len(run.got))]
            if run.got != wanted:
                checker.violated("upload", f"call {number} of {run.service!r} got {run.got}")
    for number, count in checker.resent.items():
        record = checker.records.get(number)
        if record is None or not count:
            continue
        call = record.call
        if not _may_repeat(checker, number) and call.shape not in ("stream",):
            checker.violated("sent again", f"call {number} of {call.service!r} was sent again, and is not idempotent")


def _may_repeat(checker: Checker, number: int) -> bool:
    """Whether a call may be sent again after it may have run."""
    record = checker.records.get(number)
    if record is None:  # a call of ``map``
        return True
    options = record.call.options
    return bool(options.get("idempotent") or options.get("key") or SERVICES[record.call.service].idempotent)
