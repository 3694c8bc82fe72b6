"""The client and server for any transport: the URL, or the ``transport=`` argument, says which one.

``rabibridge.RMQClient`` and ``rabibridge.RMQServer`` are these classes with the connection arguments of RabbitMQ.
"""

from __future__ import annotations

from rabibridge_core._api.base import RpcBase
from rabibridge_core._api.calls import ClientView
from rabibridge_core._api.client import RpcClient
from rabibridge_core._api.running import multiprocess_spawn_helper
from rabibridge_core._api.server import RpcServer
from rabibridge_core._api.sharded_calls import ShardedView
from rabibridge_core._api.sharded_client import ShardedClient
from rabibridge_core._api.stream_stubs import StreamStub
from rabibridge_core._api.stubs import Stub
from rabibridge_core._api.sync_broadcast import SyncBroadcast
from rabibridge_core._api.sync_calls import SyncClientView
from rabibridge_core._api.sync_client import SyncRpcClient
from rabibridge_core._api.sync_sharded_client import SyncShard, SyncShardedClient
from rabibridge_core._api.sync_stream_stubs import SyncStreamStub
from rabibridge_core._api.sync_streams import SyncStream
from rabibridge_core._api.sync_stubs import SyncStub
from rabibridge_core._client.broadcast import Broadcast, BroadcastReply
from rabibridge_core._client.stream import Stream

__all__ = [
    "Broadcast",
    "BroadcastReply",
    "ClientView",
    "RpcBase",
    "RpcClient",
    "RpcServer",
    "ShardedClient",
    "ShardedView",
    "Stream",
    "StreamStub",
    "Stub",
    "SyncBroadcast",
    "SyncClientView",
    "SyncRpcClient",
    "SyncShard",
    "SyncShardedClient",
    "SyncStream",
    "SyncStreamStub",
    "SyncStub",
    "multiprocess_spawn_helper",
]

for _class in (
    Broadcast,
    BroadcastReply,
    ClientView,
    RpcBase,
    RpcClient,
    RpcServer,
    ShardedClient,
    ShardedView,
    Stream,
    StreamStub,
    Stub,
    SyncBroadcast,
    SyncClientView,
    SyncRpcClient,
    SyncShard,
    SyncShardedClient,
    SyncStream,
    SyncStreamStub,
    SyncStub,
):
    _class.__module__ = __name__  # where users find them: the modules may move
