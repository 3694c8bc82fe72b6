"""The broker in memory does as RabbitMQ and Redis do: they are driven through the same random sequences of steps.

After each step, both must come to show the same: the outcome of every call with its fields and text, how often each
call has run, what runs now, how much waits in each queue, and who is healthy. At the end, whatever waits is run, and
compared. Sequences run side by side on the broker of all tests; those with memory alarms, which stop all of them, run
one after another. ``make differential`` tries more of them, and other ones each time; a seed can be given as
DIFFERENTIAL_SEED.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.differential.outside import Outside
from tests.differential.pair import DifferenceError, Pair
from tests.differential.steps import Steps, random_steps, take_step

if TYPE_CHECKING:
    from rabibridge_testing.servers import Broker

SEQUENCES = int(os.environ.get("DIFFERENTIAL_SEQUENCES", "100"))
FIRST = int(os.environ.get("DIFFERENTIAL_SEED", "0"))
APART = SEQUENCES // 10
_AT_ONCE = 16
_PATIENCE = 30.0
_LESS_PATIENCE = 5.0
_END_PATIENCE = 300.0
"""A step that has not ended after so many seconds hangs."""
_SHRINKING = 90.0
_DIFFERENT = 10
"""After so many that differ, no more are run."""
_SHRUNK = 3
_STEPS = (
    "call", "call", "idempotent_call", "notify", "stream", "broadcast", "expire", "release", "release", "cancel",
    "worker", "drain", "other_limits", "cut", "delete",
)  # fmt: skip
_STEPS_OF_RABBITMQ = (*_STEPS, "lose_channel", "lose_replies")
_STEPS_WITH_ALARMS = (*_STEPS_OF_RABBITMQ, "alarm", "alarm", "alarm")
_STEPS_WITH_TIMEOUTS = (*_STEPS_OF_RABBITMQ, "acknowledge_late", "acknowledge_late", "acknowledge_late")


@pytest.fixture(autouse=True)
def _look_for_callers_only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that finds a caller gone by itself, before that has sent its call again, takes others in another order.

    On a machine under load, the former takes less time than the latter.
    """
    monkeypatch.setattr("rabibridge_core._server.service.MAINTENANCE_INTERVAL", 86_400.0)


async def run(sequence: Steps, outside: Outside, patience: float = _PATIENCE) -> None:
    """Take all steps, then run what is left, and compare what remains."""
    async with Pair(outside, sequence.limits, patience) as pair:
        for step in sequence.steps:
            await take(pair, step)
        if pair.alarm:
            await take(pair, ("alarm",))
        for _ in range(200):
            if pair.fake.running:
                await take(pair, ("release", 0, "return"))
            elif 0 not in pair.fake.workers:
                await take(pair, ("worker", 0))
            else:
                return


async def take(pair: Pair, step: tuple[Any, ...]) -> None:
    """Take a step; one that does not end is a difference, too."""
    try:
        async with asyncio.timeout(_END_PATIENCE):
            await take_step(pair, step)
    except TimeoutError:
        raise DifferenceError(f"the step {step} has not ended after {_END_PATIENCE:g} s") from None


async def shrunk(sequence: Steps, outside: Outside) -> Steps:
    """Return the sequence without the steps that its difference does not need."""
    loop = asyncio.get_running_loop()
    ends, place = loop.time() + _SHRINKING, len(sequence.steps) - 1
    while place >= 0 and loop.time() < ends:
        less = replace(sequence, steps=sequence.steps[:place] + sequence.steps[place + 1 :])
        try:
            await run(less, outside, _LESS_PATIENCE)
        except DifferenceError:
            sequence = less
        place -= 1
    return sequence


async def search(outside: Outside, seeds: range, names: tuple[str, ...], at_once: int = _AT_ONCE) -> None:
    """Run the sequences of seeds; fail with all that differ, and with a short way to the first ones.

    Raises:
        ExceptionGroup: a ``DifferenceError`` for each; after ten of them, no more sequences are run.
    """
    redis = outside.url.startswith("redis")
    waiting, done = list(reversed(seeds)), 0
    different: list[tuple[DifferenceError, Steps]] = []
    begun = asyncio.get_running_loop().time()

    async def take_turns() -> None:
        nonlocal done
        while waiting and len(different) < _DIFFERENT:
            seed = waiting.pop()
            sequence = random_steps(seed, names, redis=redis, workers=1 if redis else 2)
            try:
                await run(sequence, outside)
            except DifferenceError as error:
                error.add_note(f"seed {seed}: {sequence}")
                different.append((error, sequence))
                print(f"seed {seed} differs: {error}", flush=True)
            done += 1
            if done % 100 == 0:
                minutes = (asyncio.get_running_loop().time() - begun) / 60
                print(f"{done} of {len(seeds)} in {minutes:.1f} min, {len(different)} differ", flush=True)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(take_turns())
    if different:
        for error, sequence in different[:_SHRUNK]:
            error.add_note(f"shorter: {await shrunk(sequence, outside)}")
        raise ExceptionGroup(f"{len(different)} of {done} sequences differ", [error for error, _ in different])


@pytest.mark.slow
@pytest.mark.timeout(14_400)
async def test_the_fake_does_as_rabbitmq_does(amqp_url: str) -> None:
    async with Outside.connected(amqp_url) as outside:
        await search(outside, range(FIRST, FIRST + SEQUENCES), _STEPS_OF_RABBITMQ)


@pytest.mark.slow
@pytest.mark.timeout(14_400)
async def test_the_fake_does_as_rabbitmq_does_in_alarms(rabbitmq: Broker, vhost_url: str) -> None:
    async with Outside.connected(vhost_url, rabbitmq) as outside:
        await search(outside, range(FIRST, FIRST + APART), _STEPS_WITH_ALARMS, at_once=1)


@pytest.mark.slow
@pytest.mark.timeout(14_400)
async def test_the_fake_does_as_rabbitmq_does_with_late_acknowledgements(rabbitmq: Broker, vhost_url: str) -> None:
    async with Outside.connected(vhost_url, rabbitmq) as outside, outside.impatient():
        await search(outside, range(FIRST, FIRST + APART), _STEPS_WITH_TIMEOUTS)


@pytest.mark.slow
@pytest.mark.timeout(14_400)
async def test_the_fake_does_as_redis_does(redis_url: str) -> None:
    async with Outside.connected(redis_url) as outside:
        await search(outside, range(FIRST, FIRST + SEQUENCES), _STEPS)
