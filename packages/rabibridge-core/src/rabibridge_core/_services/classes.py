"""The classes of criticality of a service: each has a queue and a bound of its own, and the first comes first.

What a class may use of the slots of a worker is decided here. A call cannot be interrupted for a more important one, so
some slots are kept free for it: a call starts only if an eighth of ``fetch_size``, at least one slot, stays free for
each class above its own. To limit only the running calls of a class would not do: it would take each slot that becomes
free, and the next important call would find all of them taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rabibridge_core._protocol.naming import is_class_name
from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["CLASSES_MAX", "Classes", "check_classes", "classes_of", "slots_of"]

Classes: TypeAlias = "tuple[tuple[str, int | None], ...]"
"""Names and bounds, the most important first; empty: the service has no classes."""

CLASSES_MAX = 8
"""Each has a queue, and a channel for each worker."""

_BOUND_MAX = 2**31 - 1
_KEPT_FREE = 8
"""One of so many slots is kept free of the class below."""


def check_classes(service: str, classes: object, queue_size: int | None) -> None:
    """Check the classes of a service.

    Raises:
        RegistrationError: a name or a bound is not allowed, or ``queue_size`` is given as well.
    """
    if classes is None:
        return
    if not isinstance(classes, Mapping) or not 1 <= len(classes) <= CLASSES_MAX:
        raise RegistrationError(
            f"service {service!r}: classes is {repr(classes)[:120]}; it must be a dict of 1 to {CLASSES_MAX} names and "
            'bounds, the most important class first, as in classes={"interactive": 100, "batch": 1000}'
        )
    for name, bound in classes.items():
        if not is_class_name(name):
            raise RegistrationError(
                f"service {service!r}: {repr(name)[:80]} is not the name of a class; use 1 to 32 of the characters "
                "A-Z, a-z, 0-9, '_', '.' and '-'"
            )
        if bound is not None and (type(bound) is not int or not 0 <= bound <= _BOUND_MAX):
            raise RegistrationError(
                f"service {service!r}: the bound of the class {name!r} is {bound!r}; it must be a whole number from 0 "
                f"to {_BOUND_MAX}, or None for no limit"
            )
    if queue_size is not None:
        raise RegistrationError(
            f"service {service!r}: classes gives each class a bound of its own: leave queue_size out, or classes"
        )


def classes_of(given: Mapping[str, int | None] | None) -> Classes:
    """Return classes that were checked, in their order."""
    return tuple(given.items()) if given else ()


def slots_of(index: int, concurrency: int) -> int:
    """Return how many of ``concurrency`` slots may be taken, at most, after a start of the class number ``index``."""
    free = max(1, concurrency // _KEPT_FREE)
    return max(1, concurrency - index * free)
