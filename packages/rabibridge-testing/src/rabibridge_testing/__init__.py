"""Tools to test code that uses RabiBridge: an in-memory broker, faults to inject, and a suite to test transports.

Everything here works without RabbitMQ and imports ``rabibridge_core`` only. Clients, servers and the AMQP transport
belong in ``rabibridge``.

Installing the package provides the pytest fixture ``fake_broker``; the suite for authors of transports is in
:mod:`rabibridge_testing.conformance`.
"""

from __future__ import annotations

from rabibridge_testing._fake.fake_broker import FakeBroker
from rabibridge_testing._fake.recording import RecordedCall
from rabibridge_testing._memory.broker import MemoryBroker
from rabibridge_testing._memory.messages import DeadLetter
from rabibridge_testing._memory.transport import MemoryTransport
from rabibridge_testing.faults import CorruptReplies, Delay, DropReplies, Duplicate, Fault, Passage, Refuse
from rabibridge_testing.memory import forget_broker, memory_broker

__all__ = [
    "CorruptReplies",
    "DeadLetter",
    "Delay",
    "DropReplies",
    "Duplicate",
    "FakeBroker",
    "Fault",
    "MemoryBroker",
    "MemoryTransport",
    "Passage",
    "RecordedCall",
    "Refuse",
    "forget_broker",
    "memory_broker",
]
