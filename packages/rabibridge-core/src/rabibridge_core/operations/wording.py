"""Words for what is reported to people."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, thing: str) -> str:
    """Return a number of things: ``1 call``, ``2,000 calls``."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
