"""What happens in a simulation: calls and faults, with their times. A plan is plain data, to be kept in a file."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field, replace
from typing import Any

__all__ = ["FAULTS", "SHAPES", "VERSION", "Call", "Fault", "Plan", "draw_plan"]

VERSION = 2
"""Of the workload: a seed means another plan with another version."""
CLIENTS, WORKERS = 2, 2
_LONG = 6.0
"""For how long calls begin and faults occur, in seconds."""

SHAPES = {
    "plain": "call", "bounded": "call", "once": "call", "again": "call", "ahead": "call", "classed": "call",
    "reporting": "progress", "threaded": "call", "told": "notify", "everywhere": "broadcast", "items": "stream",
    "resumed": "stream", "collected": "upload", "adapting": "call", "hurried": "call", "hedged": "call",
}  # fmt: skip
"""How each service is called; ``map`` calls ``plain`` and ``bounded``."""
_SHARDED = ["again", "bounded", "items", "once", "plain", "told"]
"""What is called over several brokers."""
FAULTS = (
    "lose_all", "lose_client", "lose_worker", "partition_client", "partition_worker", "refuse_connections", "restart",
    "alarm", "delete_queue", "freeze_worker", "freeze_client", "kill_worker", "stop_worker", "stop_worker_twice",
    "close_worker", "close_client", "duplicate_requests", "duplicate_replies", "drop_replies", "corrupt_replies",
    "delay_requests", "delay_replies", "refuse_full", "refuse_route", "wall_clock",
    "deafen_client", "deafen_worker", "mute_client", "mute_worker", "sever_client", "sever_worker",
)  # fmt: skip
_LATER, _FIRST = {"adapting", "hurried", "hedged"}, FAULTS.index("deafen_client")
"""What only every third seed draws from: the others mean the same plans as before there was it."""


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        number: its number, by which it is known everywhere.
        at: when it begins, in seconds.
        client: the number of the client.
        service: its name.
        shape: how it is called.
        seconds: how long the function, or each of its items, takes.
        how: how the function ends.
        timeout: its timeout in seconds.
        cancel_after: when its task is cancelled, in seconds; ``None``: it is not.
        options: further options of the call.
        count: how many items there are.
    """

    number: int
    at: float
    client: int
    service: str
    shape: str
    seconds: float
    how: str
    timeout: float
    cancel_after: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    count: int = 0


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        at: when it occurs, in seconds.
        kind: which one.
        target: the number of a client or worker, or of a service.
        seconds: how long it lasts.
    """

    at: float
    kind: str
    target: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """All that happens.

    Attributes:
        seed: what further decisions are drawn from.
        calls: the calls.
        faults: the faults.
        ending: whether the faults stop, so that every call must end and all must work again.
        shuffle: whether ready callbacks of different tasks are mixed.
        start: the time of the event loop at the beginning, in seconds.
        slots: whether deadlines share timers, as they do outside of tests.
        max_pending: how many calls a client may have pending.
        shards: whether there is a second broker, and a client that calls over both.
        broker: what stands for the broker: ``"memory"``, the one in memory, or ``"amqp"``, one that speaks AMQP.
        direct: whether one client uses direct reply-to, where the broker speaks AMQP.
    """

    seed: int
    calls: tuple[Call, ...]
    faults: tuple[Fault, ...]
    ending: bool = True
    shuffle: bool = False
    start: float = 0.0
    slots: bool = True
    max_pending: int = 64
    shards: bool = False
    broker: str = "memory"
    direct: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Plan:
        """Return the plan that :meth:`as_json` has given."""
        calls = tuple(Call(**call) for call in data["calls"])
        faults = tuple(Fault(**fault) for fault in data["faults"])
        return replace(
            cls(data["seed"], calls, faults), **{k: v for k, v in data.items() if k not in ("calls", "faults")}
        )


def draw_plan(seed: int, *, shuffle: bool | None = None) -> Plan:
    """Draw a plan from a seed."""
    draw = random.Random(seed)
    more = seed % 3 == 2
    shards = more and draw.random() < 0.12
    known = _SHARDED if shards else sorted(SHAPES) if more else sorted(set(SHAPES) - _LATER)
    services = draw.sample(known, k=draw.choice((1, 2, 4) if shards else (1, 2, 4, 8)))
    bursts = [_time(draw) for _ in range(draw.choice((1, 2, 4)))]
    clients = CLIENTS + shards
    calls = tuple(
        _draw_call(draw, number, services, clients, more=more) for number in range(1, 1 + draw.choice((3, 6, 10, 16)))
    )
    kinds = draw.sample(FAULTS if more else FAULTS[:_FIRST], k=draw.choice((1, 2, 4, 8)))
    faults = tuple(
        Fault(
            max(0.0, draw.choice(bursts) + draw.choice((-0.1, 0.0, 0.02, 0.2, 1.0, 3.0))),
            draw.choice(kinds),
            draw.randrange(64),
            draw.choice((0.0, 0.05, 0.5, 2.0, 7.0)),
        )
        for _ in range(draw.choice((0, 1, 2, 4, 6)))
    )
    return Plan(
        seed,
        tuple(sorted(calls, key=lambda call: call.at)),
        tuple(sorted(faults, key=lambda fault: fault.at)),
        ending=draw.random() < 0.75,
        shuffle=draw.random() < 0.1 if shuffle is None else shuffle,
        start=draw.choice((0.0, 1000.0, 1.7e9)),
        slots=draw.random() < 0.5,
        max_pending=draw.choice((2, 64)),
        shards=shards,
    )


def _time(draw: random.Random) -> float:
    return round(draw.random() ** 2 * _LONG, 3)


def _draw_call(draw: random.Random, number: int, services: list[str], clients: int, *, more: bool) -> Call:
    service = draw.choice(services)
    shape = SHAPES[service]
    if service in ("plain", "bounded") and draw.random() < 0.2:
        shape = "map"
    how = draw.choice(("ok", "ok", "ok", "raise", "stubborn", "deaf", "cancel"))
    options: dict[str, Any] = {}
    if service in ("plain", "bounded", "ahead") and draw.random() < 0.3:
        options["idempotent"] = True
    if service in ("plain", "bounded", "ahead", "told", "once") and draw.random() < 0.3:
        options["persistent"] = True
    if service in ("bounded", "classed") and draw.random() < 0.5:
        options["retry"] = True
    if service == "classed":
        options["criticality"] = draw.choice(("high", "low", "other"))
    if service == "again" and draw.random() < 0.4:
        options["key"] = True
    if service == "hedged":
        options["hedge"] = draw.choice((0.05, 0.2, 1.0))
    if more and service == "plain" and draw.random() < 0.1:
        options["hedge"] = 0.05
    seconds = draw.choice((0.0, 0.0, 0.02, 0.3, 2.0, 6.0))
    count = draw.choice((0, 1, 3, 20, 60, 60)) if shape in ("stream", "upload") else 4 if shape == "map" else 0
    if shape in ("stream", "upload"):
        seconds = draw.choice((0.0, 0.01, 0.1))
    cancel_after = draw.choice((0.0, 0.001, 0.05, 0.3, 1.0)) if draw.random() < 0.25 else None
    timeout = draw.choice((0.3, 1.0, 5.0, 20.0, 40.0))
    if shape == "stream" and draw.random() < 0.2:
        options["idle_timeout"] = 1.0
    return Call(
        number,
        _time(draw),
        draw.randrange(clients),
        service,
        shape,
        seconds,
        how,
        timeout,
        cancel_after,
        options,
        count,
    )
