"""Runs simulations: one by its plan, or many by their seeds, over several processes."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import time
import warnings
from collections import Counter
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rabibridge_core import _clock
from rabibridge_core._concurrency import deadlines
from rabibridge_core._observability.loop_monitor import LoopMonitor
from rabibridge_core._reporting import limited_log
from rabibridge_core._server import executors, streams
from rabibridge_core._server.active_request import ActiveRequest
from tests.simulation.amqp.plan import draw_amqp_plan
from tests.simulation.amqp.repeatable import repeatable_transport
from tests.simulation.amqp.world import AmqpWorld
from tests.simulation.loop import StuckError
from tests.simulation.members import ClientMember
from tests.simulation.plan import draw_plan
from tests.simulation.threads import SimulatedThreads
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.plan import Plan

_COLLECTED_EVERY = 25
_runs = 0

_WORLDS: dict[str, type[World]] = {"memory": World, "amqp": AmqpWorld}

_deadlines: Any = deadlines
_executors: Any = executors
_streams: Any = streams
"""Modules of which names are replaced."""

__all__ = ["Outcome", "run_plan", "run_seed", "run_seeds"]


@dataclass
class Outcome:
    """What came of one simulation.

    Attributes:
        plan: what should happen.
        violations: what must not have happened: kinds and texts.
        digest: a hash of all that has happened.
        decisions: what chance has decided.
        lines: what has happened, in words.
        faults: how often each fault has occurred.
        ends: how often calls have ended in each way.
        turns: how many turns the event loop has made.
    """

    plan: Plan
    violations: list[tuple[str, str]]
    digest: str
    decisions: list[int]
    lines: list[str]
    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    turns: int = 0

    @property
    def kinds(self) -> set[str]:
        """The kinds of violations."""
        return {kind for kind, _ in self.violations}


class _Errors(logging.Handler):
    """Keeps what the engines log as errors: what a user's code has raised, they log as warnings."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def _listening(errors: _Errors) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("rabibridge_core", "rabibridge", "aiormq", "aio_pika")]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR if logger.name.startswith("rabibridge") else logging.CRITICAL)
        logger.propagate = False
        logger.addHandler(errors)
    try:
        yield
    finally:
        for logger, level, propagate in before:
            logger.removeHandler(errors)
            logger.setLevel(level)
            logger.propagate = propagate


def _serial_hash(active: ActiveRequest) -> int:
    return int.from_bytes(active.request.correlation_id[:6], "big")


@contextmanager
def _repeatable(plan: Plan) -> Iterator[_Errors]:
    """Let nothing but the plan decide what the engines do."""
    draw = random.Random(plan.seed + 1)
    state, urandom = random.getstate(), os.urandom
    errors = _Errors()
    start, exact, pool = LoopMonitor.start, _deadlines.is_virtual, _executors.DaemonThreadPool
    measures = _streams.monotonic
    random.seed(plan.seed)
    for limited in list(limited_log._all):
        limited._forked()  # what was logged before must not be missing
    os.urandom = random._urandom = draw.randbytes  # type: ignore[attr-defined]
    LoopMonitor.start = lambda self: None  # type: ignore[method-assign]  # it measures real time, in a thread
    _executors.DaemonThreadPool = SimulatedThreads
    _streams.monotonic = _clock.monotonic  # it measures how long a function holds the event loop
    if plan.slots:
        _deadlines.is_virtual = lambda loop: False
    ActiveRequest.__hash__ = _serial_hash  # type: ignore[method-assign, assignment]
    collects = gc.isenabled()
    gc.disable()  # what it finds would end at any time
    try:
        with _listening(errors), repeatable_transport() if plan.broker == "amqp" else nullcontext():
            yield errors
    finally:
        if collects:
            gc.enable()
        del ActiveRequest.__hash__
        LoopMonitor.start, _deadlines.is_virtual = start, exact  # type: ignore[method-assign]
        _executors.DaemonThreadPool = pool
        _streams.monotonic = measures
        os.urandom = random._urandom = urandom  # type: ignore[attr-defined]
        random.setstate(state)


def run_plan(plan: Plan, given: list[int] | None = None) -> Outcome:
    """Run one simulation; ``given``: the decisions of an earlier run."""
    global _runs
    _runs += 1
    if _runs % _COLLECTED_EVERY == 1:
        gc.collect()
        gc.freeze()  # modules need not be looked at each time
    with _repeatable(plan) as errors:
        world = _WORLDS[plan.broker](plan, given)
        loop, checker = world.loop, world.checker
        try:
            try:
                loop.run_until_complete(world.run())
            except StuckError as error:
                checker.violated("stuck", str(error))
            for text in errors.texts:
                if "is dead-lettered" not in text:  # it has come too often, which faults can do
                    checker.violated("logged", text)
            for text in loop.failures:
                checker.violated("unhandled", text)
            outcome = Outcome(
                plan, checker.violations, world.trace.digest, world.decisions.taken, world.trace.lines(plan.start),
                world.faults, checker.ends, loop.turns,
            )  # fmt: skip
        finally:
            _end(world)
    return outcome


def _end(world: World) -> None:
    """Leave nothing of a simulation that could run later."""
    loop: Any = world.loop
    loop.set_exception_handler(lambda *_: None)
    loop._ready.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of coroutines that are never awaited now
        for task in loop.tasks:
            asyncio.tasks._unregister_task(task)  # those of the next run have the same places there
            if not task.done():
                task._log_destroy_pending = False
                with suppress(BaseException):
                    task.get_coro().close()
        for member in world.members:  # whoever waits for a server is told what ended it: here, that it was closed
            if (server := getattr(member, "server", None)) is not None:
                server._server.services._ended = None
    for member in world.members:
        for engine in member.clients if isinstance(member, ClientMember) else (getattr(member, "server", None),):
            if engine is not None:
                engine._connected = False
    loop._ready.clear()
    loop._scheduled.clear()
    loop._asyncgens.clear()
    loop.tasks.clear()
    _clock.forget_virtual(loop)
    loop.close()


def run_seed(seed: int, *, shuffle: bool | None = None, broker: str = "memory") -> Outcome:
    """Run the simulation of a seed."""
    return run_plan((draw_amqp_plan if broker == "amqp" else draw_plan)(seed, shuffle=shuffle))


def run_seeds(
    first: int, count: int, broker: str = "memory"
) -> tuple[list[Outcome], Counter[str], Counter[str], float]:
    """Run seeds in this process.

    Returns:
        The failures, how often each fault has occurred and each end, and the CPU time in seconds.
    """
    failures, faults, ends, began = [], Counter[str](), Counter[str](), time.process_time()
    for seed in range(first, first + count):
        outcome = run_seed(seed, broker=broker)
        faults.update(outcome.faults)
        ends.update(outcome.ends)
        if outcome.violations:
            failures.append(outcome)
    return failures, faults, ends, time.process_time() - began
