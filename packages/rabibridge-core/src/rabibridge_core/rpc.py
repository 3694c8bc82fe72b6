"""The client and server for any transport: the URL, or the ``transport=`` argument, says which one.

``rabibridge.RMQClient`` and ``rabibridge.RMQServer`` are these classes with the connection arguments of RabbitMQ.
"""

from __future__ import annotations

from rabibridge_core._api.base import RpcBase
from rabibridge_core._api.calls import ClientView
from rabibridge_core._api.client import RpcClient
from rabibridge_core._api.server import RpcServer
from rabibridge_core._api.stubs import Stub

__all__ = ["ClientView", "RpcBase", "RpcClient", "RpcServer", "Stub"]

for _class in (ClientView, RpcBase, RpcClient, RpcServer, Stub):
    _class.__module__ = __name__  # where users find them: the modules may move
