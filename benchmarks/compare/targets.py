"""The performance targets, as ratios within one run, and what was measured."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.compare.figures import MANY, ONE, median, ratio
from benchmarks.compare.payloads import PAYLOADS
from benchmarks.roster import ALONE, BASELINE, ENTRIES, US

if TYPE_CHECKING:
    from benchmarks.compare.footprint import Footprint
    from benchmarks.compare.payloads import Carried
    from benchmarks.compare.rounds import Rounds

_MIB = 2**20
_BUSY = 1024
_RATES = {
    (BASELINE, MANY): 13.0,
    ("rabibridge_012", MANY): 12.0,
    ("grpc_aio", MANY): 4.0,
    ("c_librabbitmq", MANY): 1.0,
    ("c_librabbitmq", _BUSY): 1.25,
    ("nats_py", _BUSY): 0.67,  # which has no queue, no confirmation and no acknowledgement
}
_PAYLOADS = {"1 KiB": 3.0, "64 KiB": 3.5, "4 MiB": 1.5}


@dataclass(frozen=True)
class Target:
    """One target; ``reached`` is None if it was not measured."""

    label: str
    wanted: str
    measured: str
    reached: bool | None


def _ratio(label: str, value: float | None, *, least: float | None = None, most: float | None = None) -> Target:
    wanted = f"at least {least:g} x" if least is not None else f"at most {most:g} x"
    if value is None:
        return Target(label, wanted, "-", None)
    reached = value >= least if least is not None else most is not None and value <= most
    return Target(label, wanted, f"{value:.2f} x", reached)


def _amount(label: str, value: float | None, most: float, unit: str) -> Target:
    measured = "-" if value is None else f"{value:.1f} {unit}"
    return Target(label, f"under {most:g} {unit}", measured, None if value is None else value < most)


def of_rounds(rounds: Rounds) -> list[Target]:
    """Return the targets for calls."""

    def against(name: str, field: str, in_flight: int, us: str = US) -> float | None:
        return ratio(median(rounds, us, in_flight, field), median(rounds, name, in_flight, field))

    found = [
        _ratio(
            f"calls/s at {in_flight:,} in flight, relative to {ENTRIES[name].title}",
            against(name, "rate", in_flight),
            least=least,
        )
        for (name, in_flight), least in _RATES.items()
    ]
    found.append(
        _ratio(
            f"calls/s at {MANY} in flight on asyncio's loop, relative to {ENTRIES[BASELINE].title} on it",
            against("aio_pika_asyncio", "rate", MANY, "ours_asyncio"),
            least=8,
        )
    )
    installed = against(ALONE, "rate", MANY)
    label = f"calls/s at {MANY} in flight with telemetry, signing and all else installed, relative to none of it"
    found.append(_ratio(label, installed, least=0.97))
    latency = against("c_librabbitmq", "p50", ONE)
    found.append(_ratio("median latency of one call at a time, relative to the C client", latency, most=1.35))
    for side in ("client", "server"):
        found.append(
            _ratio(
                f"CPU per call of the {side} at {MANY} in flight, relative to {ENTRIES[BASELINE].title}",
                against(BASELINE, side, MANY),
                most=1 / 8,
            )
        )
    return found


def of_payloads(payloads: dict[str, dict[str, Carried]]) -> list[Target]:
    """Return the targets for large arguments."""
    found = []
    for payload in PAYLOADS:
        if payload.label not in payloads or payload.label not in _PAYLOADS:
            continue
        carried = payloads[payload.label]
        ours, theirs = (statistics.median(carried[name].rates) for name in (US, BASELINE))
        title = ENTRIES[BASELINE].title
        label = f"bytes/s with payloads of {payload.label}, relative to {title}"
        found.append(_ratio(label, ratio(ours, theirs), least=_PAYLOADS[payload.label]))
        # The memory that the allocator keeps varies by a few buffers from one moment to the next.
        allowed = max(4 * _MIB, 4 * payload.size) / _MIB
        growth = carried[US].growth / _MIB
        found.append(_amount(f"memory growth with payloads of {payload.label}", growth, allowed, "MiB"))
    return found


def of_footprint(footprint: Footprint) -> list[Target]:
    """Return the targets for imports and idle clients."""
    ours, theirs = (footprint.import_seconds(name) for name in ("ours", "aio_pika"))
    return [
        _amount("resident memory of an idle client", footprint.idle["ours"] / _MIB, 45, "MiB"),
        _amount("import rabibridge", ours * 1e3, 150, "ms"),
        _ratio("import rabibridge, relative to import aio_pika", ratio(ours, theirs), most=1.5),
    ]
