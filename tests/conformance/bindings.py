"""Test classes for a transport, made from the conformance suite."""

from __future__ import annotations

from rabibridge_testing import conformance

_SUFFIX = "Conformance"


def conformance_classes(module: str) -> dict[str, type]:
    """Return a test class for every class of the conformance suite, by name: ``TestCalls`` for ``CallConformance``.

    A test module of a transport defines the fixtures that the suite asks for and adds the classes to its names::

        globals().update(conformance_classes(__name__))

    Args:
        module: the name of that test module.
    """
    suite = {name: getattr(conformance, name) for name in conformance.__all__ if name.endswith(_SUFFIX)}
    names = {name: f"Test{name.removesuffix(_SUFFIX)}" for name in suite}
    return {names[name]: type(names[name], (base,), {"__module__": module}) for name, base in suite.items()}
