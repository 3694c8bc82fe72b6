"""Tests of what every transport must do, for authors of transports.

Test classes and their helpers belong here. Tests of RabiBridge itself do not: the suite must pass on every transport.

A test module binds the suite to a transport with two fixtures, up to five optional ones, and one call::

    from rabibridge_testing.conformance import bind

    bind(globals())

``make_transport``
    returns an async callable. Each time it is awaited it returns a new transport, not connected, to the same broker.
    The suite connects and closes it.
``break_connection``
    returns an async callable that cuts the connection of the given transport, like a failing network. The transport
    must be able to reconnect.
``unreachable`` (optional)
    returns a callable that returns an async context manager. Inside it, the given transport knows that its connection
    is lost and cannot reconnect; a transport that was not connected yet cannot connect.
``delete_queue`` (optional)
    returns an async callable that deletes the queue of the given name on the broker.
``dead_letters`` (optional)
    returns an async callable that returns the dead letters of the queue of the given name, the oldest first: a list of
    pairs of correlation id and reason. It may remove them from the broker.
``user_transport`` (optional)
    returns an async callable that takes the name of a user and returns a new transport, not connected, that sends as
    this user of the same broker; as nobody in particular if the name is empty. The user may do what callers may.
``message_limit`` (optional)
    returns an async callable that lets the broker accept bodies of at most that many bytes, until the end of the test.

Tests that need an optional fixture are skipped if it is missing. If that is because the broker cannot do it, say so,
and they are skipped with that reason::

    bind(globals(), without={"user_transport": "the broker does not tell who has sent a message"})

``bind`` does what these lines do, which can be written instead to choose among the classes::

    class TestSeam(SeamConformance): ...
    class TestQueues(QueueConformance): ...
    class TestSignals(SignalConformance): ...
    class TestReconnection(ReconnectionConformance): ...
    class TestParts(PartConformance): ...
    class TestCalls(CallConformance): ...
    class TestKinds(KindConformance): ...
    class TestLimits(LimitConformance): ...
    class TestChanges(ChangeConformance): ...
    class TestContent(ContentConformance): ...
    class TestMessageSize(MessageSizeConformance): ...
    class TestOutage(OutageConformance): ...
    class TestCancellation(CancellationConformance): ...
    class TestDelivery(DeliveryConformance): ...
    class TestIdempotency(IdempotencyConformance): ...
    class TestHedging(HedgingConformance): ...
    class TestBreakers(BreakerConformance): ...
    class TestDeadlines(DeadlineConformance): ...
    class TestChains(ChainConformance): ...
    class TestHealth(HealthConformance): ...
    class TestEndings(EndingConformance): ...
    class TestVersions(VersionsConformance): ...
    class TestDeclaredErrors(DeclaredErrorConformance): ...
    class TestBulk(BulkConformance): ...
    class TestTypedCalls(TypedCallConformance): ...
    class TestValues(ValueConformance): ...
    class TestProviders(ProviderConformance): ...
    class TestNotifications(NotificationConformance): ...
    class TestBroadcasts(BroadcastConformance): ...
    class TestIntrospection(IntrospectionConformance): ...
    class TestProgress(ProgressConformance): ...
    class TestStreams(StreamConformance): ...
    class TestStreamLosses(StreamLossConformance): ...
    class TestUploads(UploadConformance): ...
    class TestClasses(ClassConformance): ...
    class TestClassEndings(ClassEndingConformance): ...
    class TestStreamEndings(StreamEndingConformance): ...
    class TestAccess(AccessConformance): ...
    class TestAdmission(AdmissionConformance): ...
    class TestRates(RateConformance): ...
    class TestAdaptive(AdaptiveConformance): ...

The first five classes test the transport protocol, in bytes; the others run the client and server engines on the
transport. The tests are plain coroutine functions, for ``asyncio_mode = auto`` of pytest-asyncio. Each test uses unique
service names and leaves its queues on the broker.
"""

from __future__ import annotations

from rabibridge_testing.conformance.access import AccessConformance
from rabibridge_testing.conformance.adaptive import AdaptiveConformance
from rabibridge_testing.conformance.admission import AdmissionConformance
from rabibridge_testing.conformance.binding import bind
from rabibridge_testing.conformance.breakers import BreakerConformance
from rabibridge_testing.conformance.broadcasts import BroadcastConformance
from rabibridge_testing.conformance.bulk import BulkConformance
from rabibridge_testing.conformance.calls import CallConformance
from rabibridge_testing.conformance.cancellation import CancellationConformance
from rabibridge_testing.conformance.chains import ChainConformance
from rabibridge_testing.conformance.changes import ChangeConformance
from rabibridge_testing.conformance.class_endings import ClassEndingConformance
from rabibridge_testing.conformance.classes import ClassConformance
from rabibridge_testing.conformance.content import ContentConformance
from rabibridge_testing.conformance.deadlines import DeadlineConformance
from rabibridge_testing.conformance.declared_errors import DeclaredErrorConformance
from rabibridge_testing.conformance.delivery import DeliveryConformance
from rabibridge_testing.conformance.endings import EndingConformance
from rabibridge_testing.conformance.harness import Bench, Inbox, Worker
from rabibridge_testing.conformance.health import HealthConformance
from rabibridge_testing.conformance.hedging import HedgingConformance
from rabibridge_testing.conformance.idempotency import IdempotencyConformance
from rabibridge_testing.conformance.introspection import IntrospectionConformance
from rabibridge_testing.conformance.kinds import KindConformance
from rabibridge_testing.conformance.limits import LimitConformance
from rabibridge_testing.conformance.message_size import MessageSizeConformance
from rabibridge_testing.conformance.notifications import NotificationConformance
from rabibridge_testing.conformance.outage import OutageConformance
from rabibridge_testing.conformance.parts import PartConformance
from rabibridge_testing.conformance.progress import ProgressConformance
from rabibridge_testing.conformance.providers import ProviderConformance
from rabibridge_testing.conformance.queues import QueueConformance
from rabibridge_testing.conformance.rates import RateConformance
from rabibridge_testing.conformance.reconnection import ReconnectionConformance
from rabibridge_testing.conformance.seam import SeamConformance
from rabibridge_testing.conformance.signals import SignalConformance
from rabibridge_testing.conformance.stream_endings import StreamEndingConformance
from rabibridge_testing.conformance.stream_losses import StreamLossConformance
from rabibridge_testing.conformance.streams import StreamConformance
from rabibridge_testing.conformance.typed_calls import TypedCallConformance
from rabibridge_testing.conformance.uploads import UploadConformance
from rabibridge_testing.conformance.values import ValueConformance
from rabibridge_testing.conformance.versions import VersionsConformance

__all__ = [
    "AccessConformance",
    "AdaptiveConformance",
    "AdmissionConformance",
    "Bench",
    "BreakerConformance",
    "BroadcastConformance",
    "BulkConformance",
    "CallConformance",
    "CancellationConformance",
    "ChainConformance",
    "ChangeConformance",
    "ClassConformance",
    "ClassEndingConformance",
    "ContentConformance",
    "DeadlineConformance",
    "DeclaredErrorConformance",
    "DeliveryConformance",
    "EndingConformance",
    "HealthConformance",
    "HedgingConformance",
    "IdempotencyConformance",
    "Inbox",
    "IntrospectionConformance",
    "KindConformance",
    "LimitConformance",
    "MessageSizeConformance",
    "NotificationConformance",
    "OutageConformance",
    "PartConformance",
    "ProgressConformance",
    "ProviderConformance",
    "QueueConformance",
    "RateConformance",
    "ReconnectionConformance",
    "SeamConformance",
    "SignalConformance",
    "StreamConformance",
    "StreamEndingConformance",
    "StreamLossConformance",
    "TypedCallConformance",
    "UploadConformance",
    "ValueConformance",
    "VersionsConformance",
    "Worker",
    "bind",
]
