"""What happens in a simulation of bytes: calls as in the others, and faults of connections, channels and the broker."""

from __future__ import annotations

import random
from dataclasses import replace

from tests.simulation.plan import SHAPES, Call, Fault, Plan

__all__ = ["FAULTS", "draw_amqp_plan"]

FAULTS = (
    "cut_client", "cut_worker", "cut_all", "refuse_connections", "deafen_client", "deafen_worker", "mute_client",
    "mute_worker", "sever_client", "sever_worker", "close_connection_client", "close_connection_worker",
    "close_channel_client", "close_channel_worker", "block", "nack", "delete_queue", "delete_own_queue_client",
    "delete_own_queue_worker", "restart", "kill_worker", "stop_worker", "close_client", "freeze_worker",
    "freeze_client",
)  # fmt: skip
_SERVICES: tuple[str, ...] = ("again", "ahead", "bounded", "items", "once", "plain", "reporting", "told")
_CLIENTS = 2
_LONG = 4.0


def draw_amqp_plan(seed: int, *, shuffle: bool | None = None) -> Plan:
    """Draw a plan from a seed."""
    draw = random.Random(f"amqp {seed}")
    services = draw.sample(_SERVICES, k=draw.choice((1, 2, 3)))
    bursts = [_time(draw) for _ in range(draw.choice((1, 2)))]
    calls = [_draw_call(draw, number, services) for number in range(1, 1 + draw.choice((2, 4, 8)))]
    calls += _draw_burst(random.Random(f"burst {seed}"), calls, bursts)
    calls += _draw_unserved(random.Random(f"unserved {seed}"), calls)
    kinds = draw.sample(FAULTS, k=draw.choice((1, 2, 3)))
    faults = [
        Fault(
            max(0.0, draw.choice(bursts) + draw.choice((-0.1, 0.0, 0.01, 0.1, 1.0))),
            draw.choice(kinds),
            draw.randrange(4096),
            draw.choice((0.0, 0.05, 0.5, 2.0, 7.0)),
        )
        for _ in range(draw.choice((0, 1, 2, 3, 4)))
    ]
    return Plan(
        seed,
        tuple(sorted(calls, key=lambda call: call.at)),
        tuple(sorted(faults, key=lambda fault: fault.at)),
        ending=draw.random() < 0.85,
        shuffle=draw.random() < 0.1 if shuffle is None else shuffle,
        start=draw.choice((0.0, 1000.0, 1.7e9)),
        slots=draw.random() < 0.5,
        max_pending=draw.choice((2, 64)),
        broker="amqp",
        direct=random.Random(f"direct {seed}").random() < 0.3,  # of its own, so that older seeds have the same calls
    )


def _draw_burst(draw: random.Random, calls: list[Call], times: list[float]) -> list[Call]:
    """Draw calls that are made together, when faults begin: none, or many of one service."""
    known = [call for call in calls if call.shape in ("call", "notify")]
    if not known or draw.random() < 0.7:
        return []
    like, first = replace(draw.choice(known), at=draw.choice(times)), 1 + len(calls)
    if draw.random() < 0.5:
        like = replace(like, service="wide", shape="call", options={})
    lengths = draw.choice(((like.seconds,), (like.seconds, 0.0, 0.1, 0.5)))  # some end before those that began earlier
    return [replace(like, number=first + more, seconds=draw.choice(lengths)) for more in range(draw.choice((2, 8, 24)))]


def _draw_unserved(draw: random.Random, calls: list[Call]) -> list[Call]:
    """Draw a call of a service that no worker has, or none."""
    if draw.random() < 0.8:
        return []
    shape, client, timeout = draw.choice(("call", "notify")), draw.randrange(_CLIENTS), draw.choice((1.0, 5.0, 20.0))
    return [Call(1 + len(calls), _time(draw), client, "unserved", shape, 0.0, "ok", timeout)]


def _time(draw: random.Random) -> float:
    return round(draw.random() ** 2 * _LONG, 3)


def _draw_call(draw: random.Random, number: int, services: list[str]) -> Call:
    service = draw.choice(services)
    shape = SHAPES[service]
    options: dict[str, object] = {}
    if service in ("plain", "bounded", "ahead") and draw.random() < 0.4:
        options["idempotent"] = True
    if service in ("plain", "told") and draw.random() < 0.3:
        options["persistent"] = True
    if service == "bounded" and draw.random() < 0.5:
        options["retry"] = True
    if service == "again" and draw.random() < 0.4:
        options["key"] = True
    stream = shape == "stream"
    return Call(
        number,
        _time(draw),
        draw.randrange(_CLIENTS),
        service,
        shape,
        draw.choice((0.0, 0.01, 0.1)) if stream else draw.choice((0.0, 0.0, 0.02, 0.3, 2.0)),
        draw.choice(("ok", "ok", "ok", "raise", "stubborn")),
        draw.choice((0.3, 1.0, 5.0, 20.0, 40.0)),
        draw.choice((0.0, 0.001, 0.05, 0.3, 1.0)) if draw.random() < 0.2 else None,
        options,
        draw.choice((0, 1, 3, 20, 60)) if stream else 0,
    )
