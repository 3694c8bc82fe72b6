"""Measures a service under overload: ``python -m benchmarks.overload``.

One after the other, RabiBridge and its peers serve a service with a capacity of 500 calls per second, under loads from
half to twenty times that capacity. Each load has its own queue and processes. Then RabiBridge serves two services at
once, one of which is flooded, one service with two classes of criticality, one of which is flooded, one whose callers
have different timeouts, and one whose capacity changes. The figures are printed and, by default, written to docs/ and
benchmarks/results/; what is not measured keeps its figures there.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from benchmarks.brokers import broker_to_measure
from benchmarks.environments import UnavailableError, interpreter
from benchmarks.overload import cell, criticality, deadlines, neighbours, record, waits
from benchmarks.overload.lineup import LINEUP
from benchmarks.overload.runs import Run
from benchmarks.overload.terms import LOADS, RAMP
from benchmarks.processes import pid_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.overload.cell import Cell
    from benchmarks.overload.criticality import Shared
    from benchmarks.overload.deadlines import MixedDeadlines
    from benchmarks.overload.neighbours import Neighbours
    from benchmarks.overload.waits import Waits
    from tools.broker import Broker

_NEIGHBOURS, _CRITICALITY, _DEADLINES, _WAITS = "neighbours", "criticality", "deadlines", "max_wait"
_PARTS = (*LINEUP, _NEIGHBOURS, _CRITICALITY, _DEADLINES, _WAITS)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _available(names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        try:
            interpreter(LINEUP[name].entry.home)
        except UnavailableError as error:
            _say(f"{name} is left out: {error}")
        else:
            found.append(name)
    return found


def _cells(broker: Broker, names: Sequence[str], loads: Sequence[float], seconds: float) -> list[Cell]:
    pid, done = pid_of(broker), []
    for load in loads:
        for name in names:
            try:
                one = cell.run(broker, pid, name, load, seconds)
            except RuntimeError as error:  # one of its processes has ended
                _say(f"{name} at {load:g} x is left out: {error}")
                continue
            _say(f"{name} at {load:g} x: {one.figures.good:.0f} good/s of {one.figures.offered:.0f}/s")
            done.append(one)
    return sorted(done, key=lambda one: names.index(one.contender))


def _beside(broker: Broker, seconds: float) -> dict[str, Neighbours]:
    done = {}
    for arrangement, clients in neighbours.ARRANGEMENTS.items():
        _say(f"two services, the calm one {arrangement}")
        done[arrangement] = neighbours.run(broker, clients, seconds)
    return done


def _shared(broker: Broker, seconds: float) -> dict[str, list[Shared]]:
    done: dict[str, list[Shared]] = {arrangement: [] for arrangement in criticality.ARRANGEMENTS}
    for number in range(criticality.ROUNDS):
        for arrangement, rounds in done.items():
            _say(f"two classes, interactive calls {arrangement}, round {number + 1}")
            rounds.append(criticality.run(broker, arrangement, seconds))
    return done


def _mixed(broker: Broker, seconds: float) -> dict[str, MixedDeadlines]:
    done = {}
    for arrangement in deadlines.ARRANGEMENTS:
        _say(f"callers with different timeouts, {arrangement}")
        done[arrangement] = deadlines.run(broker, arrangement, seconds)
    return done


def _waits(broker: Broker, seconds: float) -> dict[str, Waits]:
    done = {}
    for arrangement in waits.ARRANGEMENTS:
        _say(f"a capacity that changes, {arrangement}")
        done[arrangement] = waits.run(broker, arrangement, seconds)
    return done


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help=f"of each load; the first {RAMP:g} are not counted")
    parser.add_argument("--loads", default=",".join(f"{load:g}" for load in LOADS), help="as multiples of the capacity")
    parser.add_argument(
        "--only",
        default=",".join(_PARTS),
        help="run only these, separated by commas: %(default)s",
    )
    parser.add_argument("--no-write", action="store_true", help="do not change docs/ and benchmarks/results/")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(_PARTS):
        parser.error(f"--only: unknown: {', '.join(sorted(unknown))}")
    if options.seconds <= RAMP:
        parser.error(f"--seconds must be more than {RAMP:g}")
    try:
        options.loads = [float(load) for load in options.loads.split(",")]
    except ValueError:
        parser.error("--loads must be numbers, separated by commas")
    return options


def main() -> int:
    options = _options()
    names = _available([name for name in LINEUP if name in options.only])
    with broker_to_measure() as broker:
        about = record.about(broker, names)
        cells = _cells(broker, names, options.loads, options.seconds)
        beside = _beside(broker, options.seconds / 2) if _NEIGHBOURS in options.only else {}
        shared = _shared(broker, options.seconds / 2) if _CRITICALITY in options.only else {}
        mixed = _mixed(broker, options.seconds) if _DEADLINES in options.only else {}
        changing = _waits(broker, options.seconds) if _WAITS in options.only else {}
    run = Run(about, record.terms(options.seconds), cells, beside, shared, mixed, changing)
    print(record.page([run]))
    if not options.no_write:
        record.write(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
