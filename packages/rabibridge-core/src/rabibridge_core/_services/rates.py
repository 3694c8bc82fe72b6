"""How many calls of a service may start in a time: ``"300/s"``, ``"20/min"``, ``"1000/h"``."""

from __future__ import annotations

import math
import re

from rabibridge_core.errors import RegistrationError

__all__ = ["calls_per_second"]

_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_FORM = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*/\s*(s|min|h|d)\s*")
_LOWEST, _HIGHEST = 1.0 / 86400.0, 1_000_000.0


def calls_per_second(service: str, rate: object) -> float | None:
    """Return a rate in calls per second; ``None``: none is given.

    Args:
        service: the name of the service, for errors.
        rate: what was given: a text such as ``"20/min"``, a number of calls per second, or ``None``.

    Raises:
        RegistrationError: it is no rate, or none from one call a day to a million calls a second.
    """
    if rate is None:
        return None
    value = math.nan
    if isinstance(rate, str) and (found := _FORM.fullmatch(rate)) is not None:
        value = float(found[1]) / _UNITS[found[2]]
    elif isinstance(rate, int | float) and not isinstance(rate, bool):
        value = float(rate)
    if not _LOWEST * 0.999 <= value <= _HIGHEST:  # not a number: neither is true
        raise RegistrationError(
            f"service {service!r}: rate is {repr(rate)[:80]}; it must be a number of calls and a unit, one of '/s', "
            "'/min', '/h' and '/d', as in '300/s' or '20/min', or a number of calls per second; from one call a day to "
            "a million calls a second; or None for no limit"
        )
    return value
