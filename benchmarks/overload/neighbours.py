"""Measures two services on one RabiBridge server: the latency of one while the other is flooded."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.overload.cell import Program
from benchmarks.overload.figures import Figures, figures
from benchmarks.overload.terms import CAPACITY

if TYPE_CHECKING:
    from tools.broker import Broker

CALM_RATE = 50.0
"""Calls per second of the service that is not flooded."""
FLOOD = 20.0
"""Load of the flooded service, as a multiple of its capacity."""
ARRANGEMENTS = {"alone": 0, "with a flood from one client": 1, "with a flood from two clients": 2}
"""Number of client processes that flood the other service."""


@dataclass(frozen=True)
class Neighbours:
    """The figures of the calm service, and of each client that flooded the other one."""

    calm: Figures
    floods: list[Figures]


def run(broker: Broker, clients: int, seconds: float) -> Neighbours:
    """Call the calm service from its own client process, and flood the other one from ``clients`` processes."""
    url = broker.fresh_vhost()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Program("server", "ours", url, "work", "calm"))
        server.read()
        calm = stack.enter_context(Program("client", "ours", url, "calm"))
        floods = [stack.enter_context(Program("client", "ours", url, "work")) for _ in range(clients)]
        for client in (calm, *floods):
            client.read()
        for number, client in enumerate(floods):
            client.tell(rate=FLOOD * CAPACITY / clients, seconds=seconds, seed=f"flood {number}")
        calm.tell(rate=CALM_RATE, seconds=seconds, seed="calm")
        return Neighbours(
            calm=figures(calm.read(), [], seconds),
            floods=[figures(client.read(), [], seconds) for client in floods],
        )
