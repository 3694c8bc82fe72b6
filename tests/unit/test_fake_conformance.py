"""Binding the conformance suite to a test module."""

from __future__ import annotations

from typing import Any

from rabibridge_testing import conformance
from rabibridge_testing.conformance import QueueConformance, bind


def _suite() -> set[type]:
    return {getattr(conformance, name) for name in conformance.__all__ if name.endswith("Conformance")}


def test_every_class_of_the_suite_is_bound_under_its_documented_name() -> None:
    module: dict[str, Any] = {"__name__": "test_my_transport"}
    bind(module)
    classes = {name: found for name, found in module.items() if isinstance(found, type)}
    assert {base for found in classes.values() for base in found.__bases__} == _suite()
    for name, found in classes.items():
        assert (found.__name__, found.__module__) == (name, "test_my_transport")
        assert f"class {name}({found.__bases__[0].__name__}): ..." in (conformance.__doc__ or "")


def test_a_class_that_the_module_defines_is_kept() -> None:
    class TestQueues(QueueConformance): ...

    module: dict[str, Any] = {"__name__": "test_my_transport", "TestQueues": TestQueues}
    bind(module)
    assert module["TestQueues"] is TestQueues
