"""Capacity planning: what a load needs, from the measured costs. docs/scaling.md lists the formulae."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from benchmarks.scaling.handlers import REST, WORK


@dataclass(frozen=True)
class Costs:
    """The cost of one call, in CPU seconds, and of one idle connection, in bytes of the broker.

    Attributes:
        broker: on one node, with queue, workers and clients at that node.
        queue: the part of ``broker`` that the Erlang process of the service's queue takes.
        hop: extra cost if the client is at another node of the cluster.
        quorum: extra cost, on all nodes together, of a quorum queue with three members.
        worker: in the worker process, without the handler.
        client: in the client process.
        client_memory: for a client's connection.
        worker_memory: for a worker's connection.
    """

    broker: float
    queue: float
    hop: float
    quorum: float
    worker: float
    client: float
    client_memory: float
    worker_memory: float


@dataclass(frozen=True)
class Assumed:
    """Values that were chosen, not measured."""

    busy: float = 0.6
    """Allowed average utilisation of each core, process and queue."""
    cores: int = 16
    """Cores of a broker node, each as fast as one of the measured machine."""
    nodes: int = 3
    """Nodes of a cluster."""


@dataclass(frozen=True)
class Load:
    """A load to plan for."""

    name: str
    rate: float
    workers: int


@dataclass(frozen=True)
class Need:
    """What a load needs, each value rounded up."""

    clients: int
    queues: int
    broker_cores: int
    nodes: int
    hopping_nodes: int
    quorum_nodes: int
    memory: float


def costs_of(found: dict[str, Any]) -> Costs:
    """Compute the costs from the measurements."""
    one = next(row for row in found["variants"] if row["name"] == "one queue")
    placed = {row["name"]: row["broker_cpu"] for row in found["cluster"]}
    home = placed["all at one node"]
    return Costs(
        broker=one["broker_cpu"],
        queue=one["broker_cpu"] * found["shares"]["service_queue"],
        hop=placed["the client at another node"] - home,
        quorum=placed["quorum queue, all at its leader"] - home,
        worker=one["worker_cpu"],
        client=one["client_cpu"],
        client_memory=found["crowds"]["call"]["resident"],
        worker_memory=found["crowds"]["serve"]["resident"],
    )


def loads(costs: Costs, assumed: Assumed) -> list[Load]:
    """Return the loads of the table: numbers of workers at the assumed utilisation, and a million calls per second."""
    at_work = assumed.busy / (WORK + costs.worker)
    at_rest = min(assumed.busy * 64 / REST, assumed.busy / costs.worker)
    found = []
    for workers in (10, 100, 1000):
        found.append(Load(f"{workers:,} workers, {WORK * 1e3:g} ms of CPU per call", workers * at_work, workers))
        found.append(Load(f"{workers:,} workers, {REST * 1e3:g} ms of waiting per call", workers * at_rest, workers))
    million = 1e6
    found.append(Load("1,000,000 calls/s to an echo", million, ceil(million * costs.worker / assumed.busy)))
    return found


def need(load: Load, costs: Costs, assumed: Assumed) -> Need:
    """Return what a load needs.

    Nodes are counted in three ways: as independent brokers that clients choose between, without hops; and as whole
    clusters of classic or of quorum queues, whose clients connect anywhere, so that all but one in ``assumed.nodes``
    calls hop.
    """
    clients = ceil(load.rate * costs.client / assumed.busy)
    cores = load.rate * costs.broker / assumed.busy
    elsewhere = (assumed.nodes - 1) / assumed.nodes
    replicated = load.rate * (costs.broker + costs.quorum + elsewhere * costs.hop) / assumed.busy
    hopping = load.rate * (costs.broker + elsewhere * costs.hop) / assumed.busy
    return Need(
        clients=clients,
        queues=ceil(load.rate * costs.queue / assumed.busy),
        broker_cores=ceil(cores),
        nodes=ceil(cores / assumed.cores),
        hopping_nodes=ceil(hopping / assumed.cores / assumed.nodes) * assumed.nodes,
        quorum_nodes=ceil(replicated / assumed.cores / assumed.nodes) * assumed.nodes,
        memory=clients * costs.client_memory + load.workers * costs.worker_memory,
    )
