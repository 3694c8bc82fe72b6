"""Writes the measurements: benchmarks/results/scaling.json, the tables in docs/scaling.md, and charts."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.charts import Chart, Series, draw
from benchmarks.environments import UnavailableError
from benchmarks.scaling.one_node import PROCESSES
from benchmarks.scaling.tables import tables_of

if TYPE_CHECKING:
    from tools.broker import PrivateNode

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/scaling.json"
PAGE = ROOT / "docs/scaling.md"
PICTURES = ROOT / "docs/scaling"


def machine(node: PrivateNode) -> dict[str, Any]:
    """Return the machine and the versions on which the figures depend."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    asked = 'io:format("~s ~s~n", [rabbit_misc:version(), rabbit_misc:otp_release()]).'
    rabbitmq, erlang = node.ctl("eval", asked).split()[:2]
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "cpu": found[1].strip() if found else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(ram / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "rabbitmq": rabbitmq,
        "erlang": erlang,
    }


def fill(page: str, tables: dict[str, str]) -> str:
    """Insert each table between its markers.

    Raises:
        ValueError: the page has no markers for a table.
    """
    for name, text in tables.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"docs/scaling.md has no markers for {name!r}: {begin} and {end}")
        page = f"{before}{begin}\n\n{text}\n\n{end}{after}"
    return page


def _charts(found: dict[str, Any]) -> dict[Path, Chart]:
    rows = {(row["kind"], row["workers"], row["clients"]): row for row in found["processes"]}
    counts = [float(count) for count in PROCESSES]
    note = f"{found['machine']['cpu']}, {found['machine']['cores']} cores for broker, workers and clients together"
    charts = {}
    for kind, title in (
        ("echo", "An echo"),
        ("work", "2 ms of CPU per call"),
        ("rest", "20 ms of waiting per call, fetch_size=64"),
    ):
        series = []
        for clients in PROCESSES:
            line = [rows[kind, workers, clients] for workers in PROCESSES]
            series.append(
                Series(
                    f"{clients} client{'s' * (clients > 1)}",
                    [row["rate"] for row in line],
                    [row["rate_low"] for row in line],
                    [row["rate_high"] for row in line],
                )
            )
        charts[PICTURES / f"{kind}.svg"] = Chart(title, "worker processes", "calls/s", counts, series, note=note)
    beside = [*found["variants"], *({**row, "name": f"cluster: {row['name']}"} for row in found["cluster"])]
    beside.sort(key=lambda row: -sum(row[who] for who in ("broker_cpu", "worker_cpu", "client_cpu")))
    names = [row["name"] for row in beside]
    parts: list[Series] = [
        Series(label, [row[who] * 1e6 for row in beside])
        for label, who in (("broker", "broker_cpu"), ("workers", "worker_cpu"), ("clients", "client_cpu"))
    ]
    charts[PICTURES / "cost.svg"] = Chart(
        "CPU per call", "", "µs", names, parts, kind="stacked", size=(8.6, 4.8), note=note
    )
    return charts


def write(found: dict[str, Any], *, to_files: bool) -> None:
    """Print the tables; with ``to_files``, also write results, page and charts."""
    tables = tables_of(found)
    for name, text in tables.items():
        print(f"\n## {name}\n\n{text}")
    if not to_files:
        return
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
    try:
        draw(_charts(found))
    except UnavailableError as error:
        print(f"No pictures: {error}", file=sys.stderr)
