"""Measures on one node: processes, kinds of queues and connections, memory."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import aio_pika

from benchmarks.scaling.child import Spec
from benchmarks.scaling.driver import Child, Point, measure, median_of
from benchmarks.scaling.handlers import WORK, loops_for
from benchmarks.scaling.inside import memory, pid_of, shares

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.broker import PrivateNode

PROCESSES = (1, 2, 3, 4)
KINDS: Mapping[str, tuple[int | None, int]] = {"echo": (256, 256), "work": (None, 128), "rest": (64, 512)}
"""For each handler: its fetch_size, and the calls in flight of all clients together."""
WARM_UP = 0.5
CROWD = 200
HASHED = "hashed"
_TRACED = 6.0


@dataclass(frozen=True)
class Plan:
    """How many times and how long to measure."""

    rounds: int
    seconds: float


def say(text: str) -> None:
    """Print a progress message to standard error."""
    print(text, file=sys.stderr, flush=True)


def processes(node: PrivateNode, plan: Plan) -> list[dict[str, Any]]:
    """Measure each handler with 1 to 4 workers and 1 to 4 clients."""
    pid, loops, url = pid_of(node), loops_for(WORK), node.fresh_vhost()
    points: dict[tuple[str, int, int], list[Point]] = defaultdict(list)
    for number in range(plan.rounds):
        for kind, (fetch_size, in_flight) in KINDS.items():
            say(f"processes, {kind}, round {number + 1} of {plan.rounds}")
            spec = Spec([url], [kind], kind, loops, fetch_size)
            with ExitStack() as stack:
                workers: list[Child] = [stack.enter_context(Child("serve", spec))]
                clients = [stack.enter_context(Child("call", spec)) for _ in PROCESSES]
                for count in PROCESSES:
                    if count > 1:
                        workers.append(stack.enter_context(Child("serve", spec)))
                    measure([pid], workers, clients, in_flight, WARM_UP)
                    for calling in PROCESSES:
                        point = measure([pid], workers, clients[:calling], in_flight, plan.seconds)
                        points[kind, count, calling].append(point)
    return [
        {"kind": kind, "workers": workers, "clients": clients, **median_of(measured)}
        for (kind, workers, clients), measured in points.items()
    ]


def ways_to_work(node: PrivateNode, plan: Plan) -> list[dict[str, Any]]:
    """Measure the CPU-bound handler in threads and on the event loop, with small and large fetch_size, in turns."""
    pid, loops, url = pid_of(node), loops_for(WORK), node.fresh_vhost()
    points: dict[tuple[str, int], list[Point]] = defaultdict(list)
    with ExitStack() as stack:
        teams = {}
        for kind, fetch_size in (("work", 32), ("work", 2), ("work_on_loop", 32), ("work_on_loop", 2)):
            spec = Spec([url], [f"{kind}-{fetch_size}"], kind, loops, fetch_size)
            workers = [stack.enter_context(Child("serve", spec)) for _ in range(2)]
            teams[kind, fetch_size] = (workers, stack.enter_context(Child("call", spec)))
        for number in range(plan.rounds):
            say(f"the CPU-bound handler, round {number + 1} of {plan.rounds}")
            for (kind, fetch_size), (workers, client) in teams.items():
                # As many calls as both workers hold, so that the latency does not include time in the queue.
                point = measure([pid], workers, [client], 2 * fetch_size, plan.seconds)
                points[kind, fetch_size].append(point)
    return [{"kind": kind, "fetch_size": size, **median_of(measured)} for (kind, size), measured in points.items()]


async def _put_hash_in_front(url: str) -> None:
    """Bind an exchange that distributes the calls of the service over its shards by correlation id."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        spread = await channel.declare_exchange(
            f"{HASHED}.shards", "x-consistent-hash", durable=True, arguments={"hash-property": "correlation_id"}
        )
        await spread.bind("rpc", HASHED)
        for number in range(4):
            queue = await channel.get_queue(f"rpc_async_{HASHED}.{number}")
            await queue.bind(spread, "1")


def _variants(url: str) -> dict[str, tuple[Spec, Spec]]:
    """Return for each variant the specifications of workers and clients."""
    one = Spec([url], ["one"])
    four = replace(one, services=[f"four.{number}" for number in range(4)])
    shards = replace(one, services=[f"{HASHED}.{number}" for number in range(4)])
    quorum = replace(one, services=["quorum"], queue_type="quorum")
    wide = replace(one, services=["wide"], urls=[url] * 4)
    return {
        "one queue": (one, one),
        "four queues, the client chooses": (four, four),
        "four queues, an exchange chooses": (shards, replace(shards, services=[HASHED])),
        "one quorum queue": (quorum, quorum),
        "four connections for each process": (wide, wide),
    }


def variants(node: PrivateNode, plan: Plan) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Measure an echo over various queues and connections, with 2 workers and 2 clients, in turns.

    Returns:
        the measurements; and, for one queue, the share of the broker's time for each kind of Erlang process.
    """
    pid, url = pid_of(node), node.fresh_vhost()
    points: dict[str, list[Point]] = defaultdict(list)
    with ExitStack() as stack:
        teams = {}
        for name, (served, called) in _variants(url).items():
            workers = [stack.enter_context(Child("serve", served)) for _ in range(2)]
            if called.services == [HASHED]:
                asyncio.run(_put_hash_in_front(url))
            clients = [stack.enter_context(Child("call", called)) for _ in range(2)]
            teams[name] = (workers, clients)
            measure([pid], workers, clients, 256, WARM_UP)
        for number in range(plan.rounds):
            say(f"queues and connections, round {number + 1} of {plan.rounds}")
            for name, (workers, clients) in teams.items():
                points[name].append(measure([pid], workers, clients, 256, plan.seconds))
        say("where the broker's time goes")
        parts = _watch(node, pid, *teams["one queue"])
    return [{"name": name, **median_of(measured)} for name, measured in points.items()], parts


def _watch(node: PrivateNode, pid: int, workers: list[Child], clients: list[Child]) -> dict[str, float]:
    found: list[dict[str, float]] = []
    watcher = threading.Thread(target=lambda: found.append(shares(node)))
    watcher.start()
    measure([pid], workers, clients, 256, _TRACED)
    watcher.join()
    return found[0]


def crowds(node: PrivateNode) -> dict[str, Any]:
    """Measure the memory of idle connections of clients and of workers; each connection has been used before."""
    pid, url = pid_of(node), node.fresh_vhost()
    one = Spec([url], ["crowd"], fetch_size=8)
    many = replace(one, urls=[url] * CROWD)
    found: dict[str, Any] = {"connections": CROWD}
    for role in ("call", "serve"):
        say(f"memory of {CROWD} connections that {role}")
        with Child("serve", one), Child("call", one) as client:
            before = memory(node, pid)
            with Child("call" if role == "call" else "serve", many) as crowd:
                if role == "serve":
                    client.say("run", in_flight=CROWD * 8, seconds=1.0)
                    client.read()
                after = memory(node, pid)
                crowd.say("cpu")
                crowd.read()
        found[role] = {name: (after[name] - before[name]) / CROWD for name in after}
    return found
