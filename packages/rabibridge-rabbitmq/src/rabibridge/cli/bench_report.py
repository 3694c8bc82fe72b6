"""What ``rabibridge bench`` prints while it runs and in the end."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from rabibridge.cli.durations import milliseconds
from rabibridge.cli.output import console, print_line, print_table

if TYPE_CHECKING:
    from rabibridge.cli.load import Load

__all__ = ["figures", "print_figures", "show_progress"]

_PERCENTILES = (50, 90, 95, 99, 99.9)
_BAR = 40


async def show_progress(load: Load, duration: float, calls: int | None) -> None:
    """Show a bar with the rate and the latest latencies on standard error until cancelled, if it is a terminal."""
    if not sys.stderr.isatty():
        await asyncio.get_running_loop().create_future()
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), auto_refresh=False, transient=True) as progress:
        bar = progress.add_task("", total=calls or duration)
        before = (0.0, 0)
        while True:
            await asyncio.sleep(0.25)
            seconds, answered = load.seconds, load.answered
            rate = (answered - before[1]) / max(seconds - before[0], 1e-9)
            before = (seconds, answered)
            p99 = milliseconds(load.latencies.percentile(99))
            text = f"{rate:,.0f} calls/s, p99 {p99}, {load.errors.total():,} errors"
            progress.update(bar, completed=answered if calls else min(seconds, duration), description=text)
            progress.refresh()


def figures(load: Load) -> dict[str, Any]:
    """Return the results for ``--json``: durations are in seconds."""
    latencies = load.latencies
    found: dict[str, Any] = {
        "calls": load.answered,
        "succeeded": latencies.count,
        "errors": dict(load.errors.most_common()),
        "not_made": load.missed,
        "seconds": load.elapsed,
        "rate": latencies.count / max(load.elapsed, 1e-9),
    }
    if latencies.count:
        found["latency"] = {
            "min": latencies.shortest,
            "mean": latencies.total / latencies.count,
            **{f"p{percent:g}": latencies.percentile(percent) for percent in _PERCENTILES},
            "max": latencies.longest,
        }
    return found


def print_figures(load: Load) -> None:
    """Print the results as tables with a histogram."""
    found = figures(load)
    line = f"{found['succeeded']:,} calls answered in {found['seconds']:.1f} s: {found['rate']:,.1f} calls/s"
    print_line(line + "".join(f", {count:,} {name}" for name, count in found["errors"].items()))
    if load.missed:
        print_line(f"{load.missed:,} calls were not made: too many others had no answer yet")
    if "latency" not in found:
        return
    names = found["latency"]
    print_table(list(names), [[milliseconds(seconds) for seconds in names.values()]])
    ranges = load.latencies.ranges(12)
    largest = max(count for _, _, count in ranges)
    block = "█" if sys.stdout.encoding.lower().startswith("utf") else "#"
    for low, high, count in ranges:
        bar = block * max(round(_BAR * count / largest), 1 if count else 0)
        print_line(f"{milliseconds(low):>10} - {milliseconds(high):<10} {bar:<{_BAR}} {count:,}")
