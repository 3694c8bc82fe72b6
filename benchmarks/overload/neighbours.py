"""Two services on one server of ours: does the one keep its latency while the other is flooded?"""

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
"""Calls of the other one, in multiples of its capacity."""
ARRANGEMENTS = {"alone": 0, "with a flood from one client": 1, "with a flood from two clients": 2}
"""How many client processes the flood comes from."""


@dataclass(frozen=True)
class Neighbours:
    """What became of the calls of the one service, and of those of the other, if there were any."""

    calm: Figures
    floods: list[Figures]


def run(broker: Broker, clients: int, seconds: float) -> Neighbours:
    """Call the one from a client process of its own, and flood the other from so many."""
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
