"""Renders the tables of docs/scaling.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.scaling.one_node import PROCESSES
from benchmarks.scaling.plan import Assumed, costs_of, loads, need

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KIND_NAMES = {
    "echo": "an echo",
    "work": "2 ms of pure Python, a plain function in a thread",
    "rest": "20 ms of `asyncio.sleep`, `fetch_size=64`",
    "work_on_loop": "2 ms of pure Python, an async function that blocks its event loop",
}
_PARTS = {
    "rabbit_channel": "channels: AMQP methods, routing, confirms; one for the client, one for the worker",
    "rabbit_writer": "writers: frames to the socket, one for each channel",
    "rabbit_reader": "readers: frames from the socket, one for each connection",
    "service_queue": "the queue of the service",
    "reply_queues": "the reply queues of the clients",
}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Render rows; the first ``words`` columns hold text, the others numbers."""
    line = "|".join(["", *["---"] * words, *["---:"] * (len(head) - words), ""])
    return "\n".join([f"| {' | '.join(head)} |", line, *(f"| {' | '.join(row)} |" for row in rows)])


def _costs(row: dict[str, Any]) -> list[str]:
    return [f"{row[who] * 1e6:,.0f}" for who in ("broker_cpu", "worker_cpu", "client_cpu")]


_COST_HEAD = ("broker, µs", "workers, µs", "clients, µs")


def _processes(found: dict[str, Any]) -> str:
    rates = {(row["kind"], row["workers"], row["clients"]): row["rate"] for row in found["processes"]}
    parts = []
    for kind in dict.fromkeys(row["kind"] for row in found["processes"]):
        head = ["calls/s", *(f"{count} client{'s' * (count > 1)}" for count in PROCESSES)]
        rows = [
            [
                f"{workers} worker{'s' * (workers > 1)}",
                *(f"{rates[kind, workers, clients]:,.0f}" for clients in PROCESSES),
            ]
            for workers in PROCESSES
        ]
        parts.append(f"Handler: {KIND_NAMES[kind]}.\n\n{_table(head, rows)}")
    return "\n\n".join(parts)


def _cores(found: dict[str, Any]) -> str:
    head = ("handler, workers x clients", "calls/s", "cores busy", *_COST_HEAD, "median, ms", "p99, ms")
    rows = [
        [
            f"{row['kind']}, {row['workers']} x {row['clients']}",
            f"{row['rate']:,.0f}",
            f"{row['cores']:.2f}",
            *_costs(row),
            f"{row['median'] * 1e3:,.1f}",
            f"{row['p99'] * 1e3:,.1f}",
        ]
        for row in found["processes"]
        if row["workers"] == row["clients"] and row["workers"] != 3
    ]
    return _table(head, rows)


def _work(found: dict[str, Any]) -> str:
    head = ("handler", "`fetch_size`", "calls/s", "workers, µs", "median, ms", "p99, ms")
    return _table(
        head,
        (
            [
                KIND_NAMES[row["kind"]],
                str(row["fetch_size"]),
                f"{row['rate']:,.0f}",
                f"{row['worker_cpu'] * 1e6:,.0f}",
                f"{row['median'] * 1e3:,.1f}",
                f"{row['p99'] * 1e3:,.1f}",
            ]
            for row in found["work"]
        ),
    )


def _beside(rows: list[dict[str, Any]]) -> str:
    head = ("", "calls/s", "lowest to highest", "relative to the first", *_COST_HEAD, "median, ms")
    return _table(
        head,
        (
            [
                row["name"],
                f"{row['rate']:,.0f}",
                f"{row['rate_low']:,.0f} to {row['rate_high']:,.0f}",
                f"{row['rate'] / rows[0]['rate']:.2f}",
                *_costs(row),
                f"{row['median'] * 1e3:,.1f}",
            ]
            for row in rows
        ),
    )


def _shares(found: dict[str, Any]) -> str:
    broker = next(row["broker_cpu"] for row in found["variants"] if row["name"] == "one queue")
    shares = found["shares"]
    rows = [[text, f"{shares[part]:.0%}", f"{shares[part] * broker * 1e6:.1f}"] for part, text in _PARTS.items()]
    return _table(("Erlang processes", "share of the broker's time", "µs per call"), rows)


def _crowds(found: dict[str, Any]) -> str:
    head = (
        "idle connection of",
        "resident, KiB",
        "in processes and tables, KiB",
        "reserved, MiB",
        "Erlang processes",
    )
    rows = []
    for role, name in (("call", "a client"), ("serve", "a worker with one service")):
        row = found["crowds"][role]
        rows.append(
            [
                name,
                f"{row['resident'] / 1024:,.0f}",
                f"{row['held'] / 1024:,.0f}",
                f"{row['buffers'] / 2**20:,.1f}",
                f"{row['processes']:,.0f}",
            ]
        )
    return _table(head, rows)


def _plan(found: dict[str, Any]) -> str:
    costs, assumed = costs_of(found), Assumed()
    head = (
        "load", "calls/s", "worker processes", "client processes", "queues", "broker cores", "nodes, no hops",
        "nodes in clusters of 3, classic", "nodes in clusters of 3, quorum", "broker RAM for connections, MiB",
    )  # fmt: skip
    rows = []
    for load in loads(costs, assumed):
        needed = need(load, costs, assumed)
        counts = (
            load.workers, needed.clients, needed.queues, needed.broker_cores, needed.nodes, needed.hopping_nodes,
            needed.quorum_nodes,
        )  # fmt: skip
        rows.append(
            [load.name, f"{load.rate:,.0f}", *(f"{count:,}" for count in counts), f"{needed.memory / 2**20:,.0f}"]
        )
    return _table(head, rows)


def _measured(found: dict[str, Any]) -> str:
    costs = costs_of(found)
    rows = [
        ["*b*", "broker, all at one node", f"{costs.broker * 1e6:.0f} µs per call", f"{1 / costs.broker:,.0f} calls/s"],
        ["*q*", "the queue's own process", f"{costs.queue * 1e6:.1f} µs per call", f"{1 / costs.queue:,.0f} calls/s"],
        ["*h*", "extra if the client is at another node", f"{costs.hop * 1e6:.0f} µs per call", ""],
        ["*r*", "extra for a quorum queue of three members", f"{costs.quorum * 1e6:.0f} µs per call", ""],
        ["*w*", "worker process, without the handler", f"{costs.worker * 1e6:.0f} µs per call",
         f"{1 / costs.worker:,.0f} calls/s"],
        ["*c*", "client process", f"{costs.client * 1e6:.0f} µs per call", f"{1 / costs.client:,.0f} calls/s"],
        ["*m*", "broker memory for a client, for a worker",
         f"{costs.client_memory / 1024:,.0f} KiB, {costs.worker_memory / 1024:,.0f} KiB", ""],
    ]  # fmt: skip
    return _table(("", "what", "cost", "per core"), rows, words=2)


def _machine(found: dict[str, Any]) -> str:
    machine = found["machine"]
    return (
        f"Measured on {machine['date']}: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB of "
        f"RAM, {machine['system']}, Python {machine['python']} with uvloop, RabbitMQ {machine['rabbitmq']} on Erlang "
        f"{machine['erlang']}; medians of {found['rounds']} rounds of {found['seconds']:g} s."
    )


def tables_of(found: dict[str, Any]) -> dict[str, str]:
    """Return the text for each pair of markers in docs/scaling.md."""
    return {
        "machine": _machine(found),
        "processes": _processes(found),
        "cores": _cores(found),
        "work": _work(found),
        "variants": _beside(found["variants"]),
        "shares": _shares(found),
        "cluster": _beside(found["cluster"]),
        "crowds": _crowds(found),
        "costs": _measured(found),
        "plan": _plan(found),
    }
