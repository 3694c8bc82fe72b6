"""Tools to test code that uses RabiBridge: an in-memory broker, faults to inject, and a suite to test transports.

Everything here works without RabbitMQ and imports ``rabibridge_core`` only. Clients, servers and the AMQP transport
belong in ``rabibridge``.

Installing the package provides the pytest fixture ``fake_broker``. Where pytest loads no installed plug-ins
(``PYTEST_DISABLE_PLUGIN_AUTOLOAD``, ``-p no:rabibridge_testing``), import it into ``conftest.py``, ``from
rabibridge_testing import fake_broker``, or name it there, ``pytest_plugins = ["rabibridge_testing"]``. Doing so where
it is loaded, too, does no harm. Without pytest, use :func:`fake_broker_context`. The suite for authors of transports is
in :mod:`rabibridge_testing.conformance`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabibridge_testing._fake.clock import VirtualClock
    from rabibridge_testing._fake.context import current_fake_broker, fake_broker_context
    from rabibridge_testing._fake.fake_broker import FakeBroker
    from rabibridge_testing._fake.recording import RecordedCall
    from rabibridge_testing._fake.recording_context import record
    from rabibridge_testing._fake.replaying import Recording
    from rabibridge_testing._fake.stub import Stub, StubError
    from rabibridge_testing._memory.broker import MemoryBroker
    from rabibridge_testing._memory.messages import DeadLetter
    from rabibridge_testing._memory.transport import MemoryTransport
    from rabibridge_testing._recordings.file import RecordingError
    from rabibridge_testing.faults import CorruptReplies, Delay, DropReplies, Duplicate, Fault, Passage, Refuse
    from rabibridge_testing.memory import forget_broker, memory_broker
    from rabibridge_testing.plugin import fake_broker, rabbitmq, redis

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
    "Recording",
    "RecordingError",
    "Refuse",
    "Stub",
    "StubError",
    "VirtualClock",
    "current_fake_broker",
    "fake_broker",
    "fake_broker_context",
    "forget_broker",
    "memory_broker",
    "rabbitmq",
    "record",
    "redis",
]

# Most processes look for the transport ``memory`` only, among those that are installed.
_HOMES = (
    "_fake.clock",
    "_fake.context",
    "_fake.fake_broker",
    "_fake.recording",
    "_fake.recording_context",
    "_fake.replaying",
    "_fake.stub",
    "_memory.broker",
    "_memory.messages",
    "_memory.transport",
    "_recordings.file",
    "faults",
    "memory",
    "plugin",  # imports pytest, which only those have who use the fixtures
)


def __dir__() -> list[str]:  # where pytest looks for the fixtures of ``pytest_plugins``
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # for a type checker, every name would exist

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        modules = (import_module(f"{__name__}.{home}") for home in _HOMES)
        value = next(getattr(module, name) for module in modules if name in module.__all__)
        globals()[name] = value
        return value
