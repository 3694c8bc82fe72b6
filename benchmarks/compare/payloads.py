"""Measures large arguments and results: bytes per second, and whether memory grows with the number of calls."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.compare.rounds import Pair, say
from benchmarks.roster import BASELINE, US

if TYPE_CHECKING:
    from benchmarks.compare.stage import Stage

_MIB = 2**20
_CONTENDERS = (US, BASELINE)


@dataclass(frozen=True)
class Payload:
    """What is echoed, and how many calls are in flight."""

    label: str
    size: int
    in_flight: int
    random: bool


PAYLOADS = (
    Payload("1 KiB", 1024, 64, random=True),
    Payload("64 KiB", 64 * 1024, 16, random=True),
    Payload("4 MiB", 4 * _MIB, 2, random=True),
    Payload("64 KiB of text", 64 * 1024, 16, random=False),
)
"""Random bytes do not compress; the text does. RabiBridge compresses bodies over 1 KiB by default."""


@dataclass(frozen=True)
class Carried:
    """The figures of one contender for one payload."""

    rates: list[float]
    """Bytes/s of each round, in both directions together."""
    growth: int
    """How much the resident memory of client and server together grew from the warm-up to the last round, in bytes."""
    peak: int | None
    """Peak resident memory of client and server together, in bytes."""


def measure_payloads(stage: Stage, rounds: int, seconds: float) -> dict[str, dict[str, Carried]]:
    """Return each contender's figures by the label of the payload; each payload has its own processes."""
    return {payload.label: _measure(stage, payload, rounds, seconds) for payload in PAYLOADS}


def _measure(stage: Stage, payload: Payload, rounds: int, seconds: float) -> dict[str, Carried]:
    say(f"payloads of {payload.label}")
    with contextlib.ExitStack() as stack:
        pairs = {name: stack.enter_context(Pair(name, stage)) for name in _CONTENDERS}
        rates: dict[str, list[float]] = {name: [] for name in _CONTENDERS}
        for pair in pairs.values():
            bytes_per_second(pair, payload, seconds)
        before = {name: _resident(pair) for name, pair in pairs.items()}
        for _ in range(rounds):
            for name, pair in pairs.items():
                rates[name].append(bytes_per_second(pair, payload, seconds))
        return {name: Carried(rates[name], _resident(pair) - before[name], _peak(pair)) for name, pair in pairs.items()}


def bytes_per_second(pair: Pair, payload: Payload, seconds: float) -> float:
    """Return the bytes/s of a round, in both directions together."""
    done = pair.client.tell(
        "payload", size=payload.size, random=payload.random, in_flight=payload.in_flight, seconds=seconds
    )
    return float(2 * payload.size * done["calls"] / done["seconds"])


def _resident(pair: Pair) -> int:
    return sum(side.tell("resident")["resident"] for side in (pair.client, pair.server))


def _peak(pair: Pair) -> int | None:
    peaks = [peak for peak in pair.peaks().values() if peak is not None]
    return sum(peaks) if len(peaks) == 2 else None
