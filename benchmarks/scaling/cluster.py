"""Measures the cost of a hop and of a quorum queue, on a three-node cluster on this machine."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.scaling.child import Spec
from benchmarks.scaling.driver import Child, Point, measure, median_of
from benchmarks.scaling.inside import pid_of
from benchmarks.scaling.one_node import WARM_UP, Plan, say

if TYPE_CHECKING:
    from tools.broker import PrivateCluster

_IN_FLIGHT = 128


@dataclass(frozen=True)
class Layout:
    """Which node the queue, the worker and the client use."""

    name: str
    queue: int
    worker: int
    client: int
    queue_type: str = "classic"


LAYOUTS = (
    Layout("all at one node", 0, 0, 0),
    Layout("the client at another node", 0, 0, 1),
    Layout("queue, worker and client at three nodes", 2, 0, 1),
    Layout("quorum queue, all at its leader", 0, 0, 0, "quorum"),
    Layout("quorum queue, the client at another node", 0, 0, 1, "quorum"),
)


def cluster(nodes: PrivateCluster, plan: Plan) -> list[dict[str, Any]]:
    """Measure an echo with 1 worker and 1 client in each layout; the layouts take turns."""
    pids, urls = [pid_of(node) for node in nodes.nodes], nodes.fresh_vhost()
    points: dict[str, list[Point]] = defaultdict(list)
    with ExitStack() as stack:
        teams = {}
        for number, layout in enumerate(LAYOUTS):
            say(f"cluster: {layout.name}")
            service = [f"place-{number}"]
            # A queue is created on the node to which the declaring connection belongs.
            with Child("serve", Spec([urls[layout.queue]], service, queue_type=layout.queue_type)):
                pass
            spec = Spec([urls[layout.worker]], service, queue_type=layout.queue_type)
            worker = stack.enter_context(Child("serve", spec))
            client = stack.enter_context(Child("call", Spec([urls[layout.client]], service)))
            teams[layout.name] = ([worker], [client])
            measure(pids, [worker], [client], _IN_FLIGHT, WARM_UP)
        for number in range(plan.rounds):
            say(f"cluster, round {number + 1} of {plan.rounds}")
            for name, (workers, clients) in teams.items():
                points[name].append(measure(pids, workers, clients, _IN_FLIGHT, plan.seconds))
    return [{"name": name, **median_of(measured)} for name, measured in points.items()]
