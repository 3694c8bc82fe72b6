"""Binds the whole conformance suite to a test module."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from rabibridge_testing.conformance.access import AccessConformance
from rabibridge_testing.conformance.adaptive import AdaptiveConformance
from rabibridge_testing.conformance.admission import AdmissionConformance
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
from rabibridge_testing.conformance.health import HealthConformance
from rabibridge_testing.conformance.hedging import HedgingConformance
from rabibridge_testing.conformance.idempotency import IdempotencyConformance
from rabibridge_testing.conformance.introspection import IntrospectionConformance
from rabibridge_testing.conformance.kinds import KindConformance
from rabibridge_testing.conformance.limits import LimitConformance
from rabibridge_testing.conformance.message_size import MessageSizeConformance
from rabibridge_testing.conformance.notifications import NotificationConformance
from rabibridge_testing.conformance.optional import OPTIONAL
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

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from rabibridge_testing.conformance.harness import ConformanceBase

__all__ = ["OPTIONAL_FIXTURES", "bind", "needs"]

_TEST_CLASSES: dict[str, type[ConformanceBase]] = {
    "TestSeam": SeamConformance,
    "TestQueues": QueueConformance,
    "TestSignals": SignalConformance,
    "TestReconnection": ReconnectionConformance,
    "TestParts": PartConformance,
    "TestCalls": CallConformance,
    "TestKinds": KindConformance,
    "TestLimits": LimitConformance,
    "TestChanges": ChangeConformance,
    "TestContent": ContentConformance,
    "TestMessageSize": MessageSizeConformance,
    "TestOutage": OutageConformance,
    "TestCancellation": CancellationConformance,
    "TestDelivery": DeliveryConformance,
    "TestIdempotency": IdempotencyConformance,
    "TestHedging": HedgingConformance,
    "TestBreakers": BreakerConformance,
    "TestDeadlines": DeadlineConformance,
    "TestChains": ChainConformance,
    "TestHealth": HealthConformance,
    "TestEndings": EndingConformance,
    "TestVersions": VersionsConformance,
    "TestDeclaredErrors": DeclaredErrorConformance,
    "TestBulk": BulkConformance,
    "TestTypedCalls": TypedCallConformance,
    "TestValues": ValueConformance,
    "TestProviders": ProviderConformance,
    "TestNotifications": NotificationConformance,
    "TestBroadcasts": BroadcastConformance,
    "TestIntrospection": IntrospectionConformance,
    "TestProgress": ProgressConformance,
    "TestStreams": StreamConformance,
    "TestStreamLosses": StreamLossConformance,
    "TestUploads": UploadConformance,
    "TestClasses": ClassConformance,
    "TestClassEndings": ClassEndingConformance,
    "TestStreamEndings": StreamEndingConformance,
    "TestAccess": AccessConformance,
    "TestAdmission": AdmissionConformance,
    "TestRates": RateConformance,
    "TestAdaptive": AdaptiveConformance,
}


OPTIONAL_FIXTURES = frozenset(OPTIONAL.values())
"""The fixtures that a test module may leave out."""


def bind(namespace: MutableMapping[str, Any], *, without: Mapping[str, str] | None = None) -> None:
    """Add a test class to a test module for every class of the conformance suite, such as ``TestCalls``.

    Names that the module defines already are kept: to change or skip single tests of the suite, define a subclass under
    that name before the call. Classes that later versions add to the suite are bound, too.

    Args:
        namespace: the module's ``globals()``.
        without: why optional fixtures are missing, by their names: what the broker cannot do. The tests that need them
            are skipped with that reason.

    Raises:
        ValueError: ``without`` names a fixture that is not optional, or that the module defines.
    """
    missing = dict(without or {})
    for name in missing:
        if name not in OPTIONAL_FIXTURES:
            raise ValueError(f"{name!r} is no optional fixture: these are {', '.join(sorted(OPTIONAL_FIXTURES))}")
        if name in namespace:
            raise ValueError(f"the fixture {name!r} is defined: leave it out of without=")
    for name, base in _TEST_CLASSES.items():
        if name not in namespace:
            namespace[name] = type(name, (base,), {"__module__": namespace["__name__"], "__doc__": base.__doc__})
        namespace[name].without = missing


def needs(test_class: type[ConformanceBase], test: str) -> frozenset[str]:
    """Return the optional fixtures that a test needs, also by other fixtures."""
    wanted, found = [test], set[str]()
    while wanted:
        function = getattr(test_class, wanted.pop(), None)
        if function is not None:
            arguments = [name for name in inspect.signature(function).parameters if name not in ("self", *found)]
            found.update(arguments)
            wanted += arguments
    return frozenset(OPTIONAL[name] for name in found if name in OPTIONAL)
