"""Which test of the conformance suite runs on which transport, found without running one."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, NamedTuple

from rabibridge_testing.conformance.binding import needs

if TYPE_CHECKING:
    from types import ModuleType

    from rabibridge_testing.conformance.harness import ConformanceBase

__all__ = ["MODULES", "Guarantee", "guarantees", "reason_of", "sentence"]

MODULES = {
    "RabbitMQ": "tests.conformance.test_rabbitmq",
    "Redis": "tests.conformance.test_redis",
    "memory": "tests.conformance.test_fake",
}
"""The test module of each transport."""


class Guarantee(NamedTuple):
    """One test: its class, its name, and why transports skip it."""

    test_class: str
    about: str
    test: str
    skipped: dict[str, str]


def reason_of(module: ModuleType, test_class: type[ConformanceBase], test: str) -> str:
    """Return why a test is skipped; empty: it runs, and has to pass."""
    reasons = []
    for fixture in sorted(needs(test_class, test)):
        if fixture in test_class.without:
            reasons.append(test_class.without[fixture])
        elif not hasattr(module, fixture):
            reasons.append(f"the fixture `{fixture}` is missing")
    return "; ".join(reasons)


def guarantees() -> list[Guarantee]:
    """Return all tests of the suite, in the order in which they run."""
    modules = {transport: importlib.import_module(name) for transport, name in MODULES.items()}
    found = []
    for name, test_class in vars(next(iter(modules.values()))).items():
        if not name.startswith("Test"):
            continue
        about = " ".join((test_class.__doc__ or "").split()).partition(". ")[0].replace("``", "`")
        for test in dict.fromkeys(test for one in reversed(test_class.__mro__) for test in vars(one)):
            if test.startswith("test_"):
                reasons = {
                    transport: reason_of(module, getattr(module, name), test) for transport, module in modules.items()
                }
                found.append(Guarantee(name, about, test, {one: why for one, why in reasons.items() if why}))
    return found


def sentence(test: str) -> str:
    """Return the name of a test as words."""
    return re.sub(r"_+", " ", test.removeprefix("test_"))
