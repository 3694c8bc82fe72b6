"""How large a broadcast may be: the same on every transport."""

from __future__ import annotations

from typing import Final

__all__ = ["BROADCAST_MAX", "broadcast_too_large"]

BROADCAST_MAX: Final = 64 * 1024
"""Largest body of a broadcast, in bytes: a broker keeps one copy for each worker that has not read it yet."""


def broadcast_too_large(size: int) -> str:
    """Return the text of the error for a broadcast of that many bytes."""
    return (
        f"the arguments of a broadcast take {size} bytes on the wire; {BROADCAST_MAX} are allowed, since each worker "
        "gets a copy: send the workers the place where they find the data, such as a key or a URL"
    )
