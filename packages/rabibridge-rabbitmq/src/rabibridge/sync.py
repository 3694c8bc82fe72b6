"""The synchronous clients, for Flask, Django, scripts and notebooks: ``from rabibridge.sync import Client``."""

from __future__ import annotations

from rabibridge._api.sync_client import Client
from rabibridge_core.rpc import SyncShardedClient as ShardedClient

__all__ = ["Client", "ShardedClient"]

Client.__module__ = __name__  # where users find it: the module may move
