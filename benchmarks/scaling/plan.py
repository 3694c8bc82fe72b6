"""The plan on paper: what a load needs, by the costs that were measured. docs/scaling.md has the formulae in words."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from benchmarks.scaling.handlers import REST, WORK


@dataclass(frozen=True)
class Costs:
    """Of one call, in CPU seconds, and of one idle connection, in bytes of the broker.

    Attributes:
        broker: on one node, with everything at that node.
        queue: the part of it that the process of the service's queue takes.
        hop: what comes on top if the client is at another node of the cluster.
        quorum: what comes on top, on all nodes together, if the queue is a quorum queue with three members.
        worker: in the worker process, without the handler.
        client: in the client process.
        client_memory: of a client's connection.
        worker_memory: of a worker's connection.
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
    """What was chosen, not measured."""

    busy: float = 0.6
    """The part of each core, process and queue that may be used on average."""
    cores: int = 16
    """Of a broker node, each as fast as one of the machine that was measured on."""
    nodes: int = 3
    """In a cluster."""


@dataclass(frozen=True)
class Load:
    """What is asked for."""

    name: str
    rate: float
    workers: int


@dataclass(frozen=True)
class Need:
    """What a load needs, each rounded up."""

    clients: int
    queues: int
    broker_cores: int
    nodes: int
    hopping_nodes: int
    quorum_nodes: int
    memory: float


def costs_of(found: dict[str, Any]) -> Costs:
    """Return the costs from the measurements."""
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
    """Return the loads of the table: so many workers, kept as busy as is assumed; and a million calls a second."""
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

    Nodes are counted three times: brokers of their own that clients choose between, where nothing hops; and whole
    clusters, of classic or quorum queues, whose clients connect anywhere, so that all but one in ``assumed.nodes``
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
