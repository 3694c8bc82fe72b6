"""The API of RabiBridge: a client that calls functions in other processes, a server that offers them."""

from __future__ import annotations

from rabibridge._api.base import RMQBase
from rabibridge._api.client import RMQClient
from rabibridge._api.server import RMQServer

__all__ = ["RMQBase", "RMQClient", "RMQServer"]

for _class in (RMQBase, RMQClient, RMQServer):
    _class.__module__ = __name__  # where users find them: the modules may move
