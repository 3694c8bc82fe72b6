"""The broker in memory does as RabbitMQ and Redis do: they are driven through the same random sequences of steps.

After each step, both must come to show the same: the outcome of every call with its fields and text, how often each
call has run, what runs now, and who is healthy. At the end, whatever waits is run, and compared. Sequences run side by
side on the broker of all tests. ``make differential`` tries more of them, and other ones each time; a seed can be given
as DIFFERENTIAL_SEED.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest

from tests.differential.pair import DifferenceError, Pair
from tests.differential.steps import Steps, random_steps, take_step

SEQUENCES = int(os.environ.get("DIFFERENTIAL_SEQUENCES", "50"))
WORKERS = 2 if "DIFFERENTIAL_SEQUENCES" in os.environ else 1
"""On RabbitMQ. With two, what the end of one gives back may reach the other before or after a call that waited."""
FIRST = int(os.environ.get("DIFFERENTIAL_SEED", "0"))
_AT_ONCE = 16
_PATIENCE = 60.0
_LESS_PATIENCE = 10.0
_SHRINKING = 300.0
_STEPS = (
    "call", "call", "idempotent_call", "notify", "stream", "broadcast", "expire", "release", "release", "cancel",
    "worker", "other_limits", "cut",
)  # fmt: skip


async def run(sequence: Steps, url: str, patience: float = _PATIENCE) -> None:
    """Take all steps, then run what is left, and compare what remains."""
    async with Pair(url, sequence.limits, patience) as pair:
        for step in sequence.steps:
            await take_step(pair, step)
        if 0 not in pair.fake.workers:
            await take_step(pair, ("worker", 0))
        for _ in range(200):
            if not pair.fake.running:
                return
            await take_step(pair, ("release", 0, "return"))


async def shrunk(sequence: Steps, url: str) -> Steps:
    """Return the sequence without the steps that its difference does not need."""
    loop = asyncio.get_running_loop()
    ends, place = loop.time() + _SHRINKING, len(sequence.steps) - 1
    while place >= 0 and loop.time() < ends:
        less = replace(sequence, steps=sequence.steps[:place] + sequence.steps[place + 1 :])
        try:
            await run(less, url, _LESS_PATIENCE)
        except DifferenceError:
            sequence = less
        place -= 1
    return sequence


async def search(url: str, seeds: range, names: tuple[str, ...]) -> None:
    """Run the sequences of seeds; fail with the first difference, and a short way to it."""
    places, redis = asyncio.Semaphore(_AT_ONCE), url.startswith("redis")
    workers = 1 if redis else WORKERS

    async def try_one(seed: int) -> None:
        async with places:
            sequence = random_steps(seed, names, redis=redis, workers=workers)
            try:
                await run(sequence, url)
            except DifferenceError as error:
                error.add_note(f"seed {seed}: {sequence}")
                raise

    tasks = [asyncio.create_task(try_one(seed)) for seed in seeds]
    try:
        await asyncio.gather(*tasks)
    except DifferenceError as error:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        seed = next(seed for seed, task in zip(seeds, tasks, strict=True) if _error_of(task) is error)
        error.add_note(f"shorter: {await shrunk(random_steps(seed, names, redis=redis, workers=workers), url)}")
        raise


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


@pytest.mark.slow
@pytest.mark.timeout(14_400)
async def test_the_fake_does_as_rabbitmq_does(amqp_url: str) -> None:
    await search(amqp_url, range(FIRST, FIRST + SEQUENCES), _STEPS)


@pytest.mark.slow
@pytest.mark.timeout(14_400)
async def test_the_fake_does_as_redis_does(redis_url: str) -> None:
    await search(redis_url, range(FIRST, FIRST + SEQUENCES), _STEPS)
