"""The participants, and what the run needs to know about each."""

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
    """Whether it supports only the default virtual host."""
    ends_its_calls: bool = False
    """Whether its own timeout ends a call at any stage. Calls of the others also run under ``asyncio.timeout``."""


LINEUP = {
    one.module: one
    for one in (
        Participant(ENTRIES["ours"], "ours", "#d1242f", "rpc_async_work", ends_its_calls=True),
        Participant(ENTRIES["rabibridge_012"], "rabibridge_012", "#9a6700", "rpc_async_work", default_vhost_only=True),
        Participant(ENTRIES["aio_pika_rpc"], "aio_pika_rpc", "#0969da"),
        Participant(ENTRIES["faststream_rpc"], "faststream_replies", "#1a7f37"),
    )
}
"""All participants by the name of their module, in the order of the tables."""
