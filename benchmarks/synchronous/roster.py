"""The contenders for synchronous callers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.roster import Home

__all__ = ["CONTENDERS", "US", "SyncEntry"]


@dataclass(frozen=True)
class SyncEntry:
    """A contender: a library, and how it is used."""

    name: str
    title: str
    home: Home
    distribution: str
    does: str
    """What it does for a call."""


US = "sync_ours"
CONTENDERS = {
    entry.name: entry
    for entry in (
        SyncEntry(
            US, "RabiBridge, `rabibridge.sync.Client`", "main", "rabibridge-rabbitmq",
            "one connection for all threads; all that the asynchronous client does for a call",
        ),
        SyncEntry(
            "sync_nameko", "nameko, standalone proxy", "sync", "nameko",
            "a connection for each thread; request and reply are confirmed; no bounded queue, no deadline",
        ),
        SyncEntry(
            "sync_celery", "Celery, `delay().get()`", "sync", "celery",
            "an app with its connections for each thread; no confirms, no bounded queue, no deadline; acknowledged "
            "before the task runs",
        ),
        SyncEntry(
            "sync_kombu", "kombu, its RPC example", "sync", "kombu",
            "a connection for each thread; no confirms, no bounded queue, no deadline, no errors from the server",
        ),
    )
}  # fmt: skip
