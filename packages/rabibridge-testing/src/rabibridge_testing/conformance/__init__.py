"""What every transport must do, as tests that the author of one runs on it.

Bind them with two fixtures, in a test module of one's own::

    class TestSeam(SeamConformance): ...
    class TestQueues(QueueConformance): ...
    class TestSignals(SignalConformance): ...
    class TestReconnection(ReconnectionConformance): ...
    class TestCalls(CallConformance): ...
    class TestLimits(LimitConformance): ...
    class TestContent(ContentConformance): ...
    class TestOutage(OutageConformance): ...
    class TestCancellation(CancellationConformance): ...
    class TestDelivery(DeliveryConformance): ...
    class TestIdempotency(IdempotencyConformance): ...
    class TestDeadlines(DeadlineConformance): ...
    class TestHealth(HealthConformance): ...

``make_transport``
    returns an async callable: each time it is awaited it gives a new transport, not connected, that reaches the same
    broker as the others. The suite connects and closes it.
``break_connection``
    returns an async callable that cuts the connection of the given transport, as a failing network does. The transport
    must be able to connect again.
``unreachable`` (optional)
    returns a callable that gives an async context manager: inside it, the given transport knows that its connection
    is lost and cannot get a new one; one that was not connected yet cannot connect.
``delete_queue`` (optional)
    returns an async callable that deletes the queue of the given name on the broker.
``dead_letters`` (optional)
    returns an async callable that gives what was put aside of the queue of the given name, the oldest first: a list of
    pairs, correlation id and reason. It may take them away.

Tests that need one of the optional fixtures are skipped where there is none.

The first four classes speak to the seam in bytes; the others run the client and server engines on the transport. The
tests are plain coroutine functions; ``asyncio_mode = auto`` of pytest-asyncio runs them. Each uses service names of its
own and leaves its queues behind.
"""

from __future__ import annotations

from rabibridge_testing.conformance.calls import CallConformance
from rabibridge_testing.conformance.cancellation import CancellationConformance
from rabibridge_testing.conformance.content import ContentConformance
from rabibridge_testing.conformance.delivery import DeliveryConformance
from rabibridge_testing.conformance.harness import Bench, Inbox, Worker
from rabibridge_testing.conformance.idempotency import IdempotencyConformance
from rabibridge_testing.conformance.limits import LimitConformance
from rabibridge_testing.conformance.outage import OutageConformance
from rabibridge_testing.conformance.queues import QueueConformance
from rabibridge_testing.conformance.reconnection import ReconnectionConformance
from rabibridge_testing.conformance.seam import SeamConformance
from rabibridge_testing.conformance.signals import SignalConformance
from rabibridge_testing.conformance.upkeep import DeadlineConformance, HealthConformance

__all__ = [
    "Bench",
    "CallConformance",
    "CancellationConformance",
    "ContentConformance",
    "DeadlineConformance",
    "DeliveryConformance",
    "HealthConformance",
    "IdempotencyConformance",
    "Inbox",
    "LimitConformance",
    "OutageConformance",
    "QueueConformance",
    "ReconnectionConformance",
    "SeamConformance",
    "SignalConformance",
    "Worker",
]
