"""Times on the command line: ``90``, ``90s``, ``15m``, ``2h``, ``7d``."""

from __future__ import annotations

import re

import typer

__all__ = ["age", "milliseconds", "seconds"]

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[smhd]?)")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """Return a time in seconds.

    Raises:
        BadParameter: it is none.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a time; use seconds, or a number with s, m, h or d, such as 15m")
    return float(found["number"]) * _UNITS[found["unit"]]


def age(value: float) -> str:
    """Return a time in seconds as people say it, in its two largest units."""
    rest = max(0, round(value))
    parts = [(rest // 86400, "d"), (rest % 86400 // 3600, "h"), (rest % 3600 // 60, "m"), (rest % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        del parts[0]
    return " ".join(f"{number}{unit}" for number, unit in parts[:2] if number or len(parts) == 1)


def milliseconds(value: float) -> str:
    """Return a short time in seconds as milliseconds."""
    number = value * 1000
    return f"{number:,.2f} ms" if number < 10 else f"{number:,.1f} ms" if number < 1000 else f"{number:,.0f} ms"
