"""Who takes part, and what the run must know of each."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.roster import ENTRIES, Entry


@dataclass(frozen=True)
class Participant:
    """A contender, and how it serves and calls ``work``."""

    entry: Entry
    module: str
    """Its module in `benchmarks.contenders`."""
    colour: str
    queue: str = "work"
    """The queue that it declares."""
    default_vhost_only: bool = False
    """Whether it knows no other virtual host."""
    ends_its_calls: bool = False
    """Whether its own timeout ends a call wherever it stands. All others are called under ``asyncio.timeout``, too."""


LINEUP = {
    one.module: one
    for one in (
        Participant(ENTRIES["ours"], "ours", "#d1242f", "rpc_async_work", ends_its_calls=True),
        Participant(ENTRIES["rabibridge_012"], "rabibridge_012", "#9a6700", "rpc_async_work", default_vhost_only=True),
        Participant(ENTRIES["aio_pika_rpc"], "aio_pika_rpc", "#0969da"),
        Participant(ENTRIES["faststream_rpc"], "faststream_replies", "#1a7f37"),
    )
}
"""All who take part by the name of their module, in the order of the tables."""
