"""Draws what ``rabibridge top`` shows, for a terminal of any size."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from rabibridge.cli.durations import age
from rabibridge.cli.service_rows import found_limit, rate_limit, row_of
from rabibridge_core._reporting.error_text import printable
from rabibridge_core.operations.wording import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rabibridge.cli.top_state import TopState
    from rabibridge_core.introspection import ServiceStatus

__all__ = ["screen"]

_HEADINGS = {
    "name": "service",
    "rate": "calls/s",
    "p50": "p50",
    "p99": "p99",
    "in hand": "in hand",
    "waiting": "waiting",
    "refused": "refused",
    "errors": "errors",
    "workers": "workers",
}
_AROUND = 4  # lines of the screen that are not rows


def screen(state: TopState, height: int) -> RenderableType:
    """Return what fills a screen of so many lines."""
    if state.detail is not None:
        return _detail(state, height)
    found, rows = state.found, state.services
    table = Table(box=None, expand=True, pad_edge=False, header_style="reverse", padding=(0, 1, 0, 0))
    for key, heading in _HEADINGS.items():
        arrow = ("▲" if state.reverse else "▼") if key == state.sort else ""
        name = key == "name"
        table.add_column(
            Text(heading + arrow), justify="left" if name else "right", no_wrap=True, ratio=1 if name else None
        )
    space = max(1, height - _AROUND)
    first = max(0, min(state.selected - space // 2, len(rows) - space))
    for number, service in enumerate(rows[first : first + space], first):
        row = row_of(service)
        style = "bold reverse" if number == state.selected else "red" if service.silent or service.problems else ""
        cells = [row.name, row.rate, row.p50, row.p99, f"{row.in_hand:,}", row.waiting]
        cells += [f"{row.refused:,}", f"{row.errors:,}", row.workers]
        table.add_row(*(Text(printable(cell)) for cell in cells), style=style)
    total = sum(service.rate for service in found)
    head = f"{counted(found.workers, 'worker')}, {counted(len(found), 'service')}, {total:,.1f} calls/s"
    chosen = f"filter: {state.filter}{'▏' if state.typing else ''}" if state.filter or state.typing else ""
    keys = "q quit  s/S sort  r reverse  / filter  ↑↓ select  enter errors  p pause"
    return Group(_status(state, head), Text(chosen, style="bold", no_wrap=True), table, _line(keys, "dim"))


def _detail(state: TopState, height: int) -> RenderableType:
    service = state.shown
    name = state.detail[0] if state.detail else ""
    lines = [Text(f"{name} is not served any more")] if service is None else list(_about(service))
    space = max(1, height - 2)
    state.scroll = min(state.scroll, max(0, len(lines) - space))
    keys = _line("q quit  esc back  ↑↓ scroll  p pause", "dim")
    return Group(_status(state, name), *lines[state.scroll : state.scroll + space], keys)


def _about(service: ServiceStatus) -> list[Text]:
    row = row_of(service)
    counts = ", ".join(f"{count:,} {key}" for key, count in service.counts.to_json().items() if count)
    lines = [
        _line(f"{service.name}{service.signature}", "bold"),
        _line(
            f"{row.rate} calls/s, p50 {row.p50}, p99 {row.p99}, {row.in_hand:,} in hand, {row.waiting} waiting"
            + found_limit(service)
        ),
        *(_line(limit) for limit in [rate_limit(service)] if limit),
        _line(f"calls: {counts or 'none yet'}"),
        _line(f"workers: {', '.join(service.workers) or 'none has answered'}"),
        *(_line(f"problem on {worker}: {problem}", "red") for worker, problem in service.problems.items()),
        Text(""),
        _line("last errors" if service.failures else "no errors", "bold"),
    ]
    for failure in service.failures:
        ago = age(max(0.0, time.time() - failure.last_at))
        lines.append(_line(f"{ago} ago, {counted(failure.count, 'time')}: {failure.type}: {failure.message}", "red"))
        lines.extend(_line(f"  {line}") for line in failure.traceback.rstrip().splitlines())
    return lines


def _status(state: TopState, head: str) -> Text:
    if state.trouble:
        return _line(f"{head}  {state.trouble}", "bold red")
    return _line(head + ("  paused" if state.paused else ""), "bold")


def _line(text: str, style: str = "") -> Text:
    """Return one line of text from outside: it is cut where the terminal ends, and controls nothing."""
    return Text(printable(text), style=style, no_wrap=True, overflow="ellipsis")
