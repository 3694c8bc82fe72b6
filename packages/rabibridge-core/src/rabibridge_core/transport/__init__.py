"""The contract between the engines and a message broker: protocols of few methods that move bytes.

A transport knows queues, bytes and correlation ids. Python objects, serializers and handlers belong in the engines;
what only one broker knows belongs in its transport. Authors of a transport run the conformance suite of
``rabibridge_testing`` on it.
"""

from rabibridge_core.transport.blocking import Blockable, obstacles
from rabibridge_core.transport.consumer_count import ConsumerCounter
from rabibridge_core.transport.control import ControlReceiver, ControlRequest
from rabibridge_core.transport.counting import ConnectionCounter, ConnectionCounts
from rabibridge_core.transport.events import (
    CallerEvents,
    ConsumerEvents,
    CopyVoucher,
    FeedRefusal,
    PendingCalls,
    Refusal,
)
from rabibridge_core.transport.held_requests import HeldBroadcast, HeldRequest, RequestHolder
from rabibridge_core.transport.location import BrokerAddress, Located
from rabibridge_core.transport.messages import (
    Delivery,
    Headers,
    HeaderValue,
    IncomingBroadcast,
    IncomingRequest,
    QueueType,
    Reply,
    Request,
    ServiceQueue,
)
from rabibridge_core.transport.protocols import (
    Abandonable,
    AdjustableConsumer,
    Caller,
    ConnectionState,
    Consumer,
    Transport,
)
from rabibridge_core.transport.queue_deletion import QueueDeleter

__all__ = [
    "Abandonable",
    "AdjustableConsumer",
    "Blockable",
    "BrokerAddress",
    "Caller",
    "CallerEvents",
    "ConnectionCounter",
    "ConnectionCounts",
    "ConnectionState",
    "Consumer",
    "ConsumerCounter",
    "ConsumerEvents",
    "ControlReceiver",
    "ControlRequest",
    "CopyVoucher",
    "Delivery",
    "FeedRefusal",
    "HeaderValue",
    "Headers",
    "HeldBroadcast",
    "HeldRequest",
    "IncomingBroadcast",
    "IncomingRequest",
    "Located",
    "PendingCalls",
    "QueueDeleter",
    "QueueType",
    "Refusal",
    "Reply",
    "Request",
    "RequestHolder",
    "ServiceQueue",
    "Transport",
    "obstacles",
]
