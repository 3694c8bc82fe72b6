"""The steps of random sequences, as plain values: they can be printed, repeated and left out one by one.

What a step is about, such as one of the calls that run, is a number: of as many as there are when it is its turn. A
step that makes no sense then does nothing.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.differential.pair import CONNECTIONS
from tests.differential.timing import is_unclear
from tests.differential.world import Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.differential.pair import Pair
    from tests.differential.world import Worker

__all__ = ["Steps", "random_steps", "take_step"]

Step = tuple[Any, ...]
LENGTH = 15
_EXPIRES = 0.2


@dataclass(frozen=True)
class Steps:
    """A sequence: the limits of the services, and what is done."""

    limits: Limits
    steps: tuple[Step, ...]


def random_steps(seed: int, names: Sequence[str], *, redis: bool, workers: int) -> Steps:
    """Return the sequence of a seed, of steps of these names.

    Redis does not give calls to several workers in turn: with it, there must be one. The broker in memory has quorum
    queues then: there, too, a call that comes again keeps its place.
    """
    chance = random.Random(seed)
    limits = Limits(
        queue_size=chance.choice((None, 1, 2)),
        fetch_size=chance.randint(1, 2),
        delivery=chance.choice(("at-least-once", "at-least-once", "at-most-once")),
        idempotent=chance.random() < 0.5,
        queue_type=chance.choice(("classic", "classic", "quorum")),
    )
    if limits.idempotent and limits.delivery == "at-most-once":
        limits = replace(limits, delivery="at-least-once")
    if redis:
        limits = replace(limits, queue_type="quorum")
    elif limits.queue_type == "quorum":
        limits = replace(limits, queue_size=None)  # its bound is not exact on RabbitMQ
    return Steps(limits, tuple(_random_step(chance, chance.choice(names), workers) for _ in range(LENGTH)))


def _random_step(chance: random.Random, name: str, workers: int) -> Step:
    client, which = chance.randint(0, 1), chance.randint(0, 11)
    values: dict[str, tuple[Any, ...]] = {
        "call": (client, chance.choice(("any", "async", "sync")), chance.choice((None, True))),
        "idempotent_call": (client, chance.choice((None, "one", "two"))),
        "notify": (client,),
        "stream": (client,),
        "broadcast": (client,),
        "expire": (client,),
        "release": (which, chance.choice(("return", "return", "fail"))),
        "cancel": (which,),
        "worker": (chance.randrange(workers),),
        "drain": (chance.randrange(workers),),
        "delete": (which,),
        "cut": (chance.choice(CONNECTIONS[: 2 + workers]),),
        "lose_channel": (which, chance.choice(("work", "work", "feed"))),
        "acknowledge_late": (which, chance.choice(("work", "work", "feed"))),
        "lose_replies": (client,),
    }
    return (name, *values.get(name, ()))


async def take_step(pair: Pair, step: Step) -> None:
    """Take a step in both worlds, and compare."""
    name, *values = step
    if pair.alarm and name in _BY_CLIENTS:  # which connection the broker reads first after it depends on both
        values[0] = 0
    await _STEPS[name](pair, *values)


async def _call(pair: Pair, client: int, kind: str, persistent: bool | None) -> None:
    pair.number += 1
    number, options = pair.number, {"kind": kind, "persistent": persistent}
    await pair.both(lambda world: world.call(number, client, options))


async def _idempotent_call(pair: Pair, client: int, key: str | None) -> None:
    pair.number += 1
    number = pair.number
    if key in pair.stale_keys:
        key = f"{key} {number}"
    if key is not None:
        pair.keys.append((key, client))
    options = {"idempotent": True, "idempotency_key": key}
    await pair.both(lambda world: world.call(number, client, options))


async def _notify(pair: Pair, client: int) -> None:
    pair.number += 1
    number = pair.number
    await pair.both(lambda world: world.notify(number, client))


async def _stream(pair: Pair, client: int) -> None:
    pair.number += 1
    number = pair.number
    await pair.both(lambda world: world.stream(number, client))


async def _broadcast(pair: Pair, client: int) -> None:
    workers = pair.fake.workers.values()
    if pair.alarm or not workers or any(worker.draining is not None for worker in workers):
        return  # it would not end before the alarm does; a worker that finishes may or may not hear it
    pair.number += 1
    number = pair.number
    await pair.both(lambda world: world.broadcast(number, client))
    await _ended(pair, number)


async def _expire(pair: Pair, client: int) -> None:
    """Call with a short time while all workers are full, so that the call cannot begin, however slow the machine is."""
    full = (
        bool(pair.fake.workers)
        and not pair.alarm
        and all(
            sum(run.service == "work" for run in worker.runs) >= pair.limits.fetch_size
            for worker in pair.fake.workers.values()
        )
    )
    service, size = pair.fake.service, pair.limits.queue_size
    room = size is None or all(len(one) < size for one in pair.broker.queues.values() if one.service == service)
    if not (full and room):  # a refusal might come after the end of its time
        return
    pair.number += 1
    number = pair.number
    await pair.both(lambda world: world.call(number, client, {"timeout": _EXPIRES}))
    await _ended(pair, number)


async def _ended(pair: Pair, number: int) -> None:
    """Wait until a call has ended in both worlds: what comes next must not meet it on its way."""
    await asyncio.wait([pair.fake.calls[number], pair.real.calls[number]])
    await pair.compare()


async def _release(pair: Pair, which: int, end: str) -> None:
    if running := sorted(set(pair.fake.running)):
        await pair.both(lambda world: world.release(running[which % len(running)], end))


async def _cancel(pair: Pair, which: int) -> None:
    if pair.alarm and pair.limits.queue_size is not None:
        return  # whether it makes room before another connection is read again depends on the broker
    if pending := [number for number, call in pair.fake.calls.items() if not call.done()]:
        await pair.both(lambda world: world.cancel(pending[which % len(pending)]))


async def _worker(pair: Pair, number: int) -> None:
    """Start a worker that does not run, or stop one that does."""
    worker = pair.fake.workers.get(number)
    if pair.alarm:  # what it gives back would not arrive
        return
    if worker is None:
        await pair.both(lambda world: world.begin_worker(number, pair.limits))
    elif len(worker.runs) < 2:  # it would give back several calls, in any order
        await pair.both(lambda world: world.end_worker(number))


async def _drain(pair: Pair, number: int) -> None:
    """Let a worker end what it runs, and take no more."""
    worker = pair.fake.workers.get(number)
    if worker is not None and worker.draining is None and not pair.alarm:
        await pair.both(lambda world: world.drain_worker(number))


async def _delete(pair: Pair, which: int) -> None:
    """Delete a queue whose worker runs no call of it, for which RabbitMQ alone would give it another place.

    Only one worker may know of the queue: of two, either may be the first to declare it again.
    """
    service = ("work", "feed")[which % 2]
    workers = pair.fake.workers.values()
    if len(workers) < 2 and not any(run.service == service for worker in workers for run in worker.runs):
        await pair.delete(which)
        await pair.compare()


async def _alarm(pair: Pair) -> None:
    """Let the brokers accept no messages, or accept them again."""
    if pair.outside.can_alarm:
        await pair.set_alarm(on=not pair.alarm)
        await pair.compare()


async def _other_limits(pair: Pair) -> None:
    """Start a worker that the broker refuses."""
    if 1 not in pair.fake.workers and 0 in pair.fake.workers and not pair.alarm:
        await pair.both(lambda world: world.begin_worker(1, replace(pair.limits, queue_size=7)))


async def _cut(pair: Pair, name: str) -> None:
    worker = _worker_of(pair, name)
    if worker is not None and worker.draining is not None:
        return  # whether it ends before it is connected again depends on how long that takes
    if pair.alarm and name.startswith("worker"):
        return  # on RabbitMQ it serves again after the alarm
    if is_unclear(pair, name):
        return
    if worker is not None and len(pair.fake.workers) > 1:
        await pair.cut_off(name)
        return
    pair.cut(name)
    await _back(pair, name)


async def _lose_channel(pair: Pair, which: int, service: str) -> None:
    """Have the broker close one channel, while the connection lives; it reads nothing of that in an alarm."""
    names = [f"client {number}" for number in pair.fake.clients] + [f"worker {number}" for number in pair.fake.workers]
    if pair.alarm or not names:
        return
    name = names[which % len(names)]
    if not is_unclear(pair, name):
        await _lose(pair, name, service, late=False)


async def _acknowledge_late(pair: Pair, which: int, service: str) -> None:
    """Have the broker close the channel of a worker that has not acknowledged requests in time."""
    if (workers := list(pair.fake.workers)) and not pair.alarm:
        await _lose(pair, f"worker {workers[which % len(workers)]}", service, late=True)


async def _lose(pair: Pair, name: str, service: str, *, late: bool) -> None:
    if name.startswith("worker") and len(pair.fake.workers) > 1:  # the other one may get what this one runs
        await pair.lose_channel_for_long(name, service, late=late)
    else:
        await pair.lose_channel(name, service, late=late)
        await _back(pair, name)


async def _lose_replies(pair: Pair, client: int) -> None:
    """Delete the reply queue of a client; the broker reads nothing of that in an alarm."""
    name = f"client {client}"
    if client in pair.fake.clients and not pair.alarm and not is_unclear(pair, name):
        pair.lose_replies(name)
        await _back(pair, name)


def _worker_of(pair: Pair, name: str) -> Worker | None:
    return pair.fake.workers.get(int(name[-1])) if name.startswith("worker") else None


async def _back(pair: Pair, name: str) -> None:
    await pair.compare()
    if name.startswith("client") and not pair.alarm:
        for number in list(pair.fake.workers):  # one after the other: the first one that is free gets what waits
            await pair.both(lambda world, number=number: world.look_for_callers(number))  # type: ignore[misc]


_BY_CLIENTS = ("call", "idempotent_call", "notify", "stream")
_STEPS: dict[str, Callable[..., Awaitable[None]]] = {
    "call": _call,
    "idempotent_call": _idempotent_call,
    "notify": _notify,
    "stream": _stream,
    "broadcast": _broadcast,
    "expire": _expire,
    "release": _release,
    "cancel": _cancel,
    "worker": _worker,
    "drain": _drain,
    "delete": _delete,
    "alarm": _alarm,
    "other_limits": _other_limits,
    "cut": _cut,
    "lose_channel": _lose_channel,
    "acknowledge_late": _acknowledge_late,
    "lose_replies": _lose_replies,
}
