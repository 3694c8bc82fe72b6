"""Correlation ids: random, so that nobody can guess the id of a pending call and answer or cancel it."""

from __future__ import annotations

import os
import struct
from base64 import urlsafe_b64encode
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ID_BITS", "correlation_ids"]

_BYTES = 9  # without padding in base64
ID_BITS = 8 * _BYTES
"""Number of random bits in a correlation id."""
_BATCH = 128
_split = struct.Struct("12s" * _BATCH).unpack


def correlation_ids() -> Iterator[bytes]:
    """Return random ids of 12 characters, forever.

    They are drawn from the system in batches, which makes them cheaper than counting. A forked process must not go on
    with an iterator that its parent uses: each connection has its own.
    """
    return chain.from_iterable(_split(urlsafe_b64encode(batch)) for batch in iter(_random_batch, b""))


def _random_batch() -> bytes:
    return os.urandom(_BYTES * _BATCH)
