"""What a gateway reads from the headers of a request: its deadline, its class, and what is passed on with calls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rabibridge_core._protocol.headers import is_call_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["header", "parse_timeout", "passed_headers"]

_TIMEOUT = re.compile(r"(\d{1,8}(?:\.\d{1,9})?)(H|M|S|m|u|n|ms|s)?", re.ASCII).fullmatch
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "ms": 1e-3, "s": 1.0}
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII).fullmatch


def header(headers: Iterable[tuple[bytes, bytes]], name: str) -> str | None:
    """Return the value of a header of an ASGI scope, several joined by commas; ``None``: it is not there."""
    wanted = name.lower().encode()
    values = [value.decode("latin-1") for key, value in headers if key.lower() == wanted]
    return ", ".join(values) if values else None


def parse_timeout(text: str) -> float | None:
    """Return a time in seconds: ``2.5`` and ``2.5s`` are seconds, ``250ms``, or as in gRPC: ``250m``, ``5S``, ``1M``.

    ``None``: it is not one.
    """
    found = _TIMEOUT(text.strip())
    return None if found is None else float(found[1]) * _UNITS[found[2] or "s"]


def passed_headers(headers: Sequence[tuple[bytes, bytes]], names: Iterable[str]) -> dict[str, str]:
    """Return the headers of these names as headers of calls; what is malformed is left out."""
    passed: dict[str, str] = {}
    for name in names:
        value = header(headers, name)
        if value is None or not is_call_header(name, value):
            continue
        if name.lower() != "traceparent" or _TRACEPARENT(value):
            passed[name] = value
    return passed
