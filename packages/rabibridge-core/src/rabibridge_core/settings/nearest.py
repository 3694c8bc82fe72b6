"""Suggests the right name for a wrong one."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["nearest", "suggestion"]

_CUTOFF = 0.7


def nearest(name: str, right: Iterable[str], prefix: str = "") -> str | None:
    """Return the right name that is most like a wrong one; ``None`` if none is near.

    Args:
        name: what was given. Case, and ``-`` in place of ``_``, make no difference.
        right: the names that there are.
        prefix: a prefix that may be missing or too many, such as ``RABBITMQ_``.
    """
    plain = {_plain(one).removeprefix(_plain(prefix)): one for one in right}
    found = difflib.get_close_matches(_plain(name).removeprefix(_plain(prefix)), plain, n=1, cutoff=_CUTOFF)
    return plain[found[0]] if found else None


def suggestion(name: str, right: Iterable[str], otherwise: str, prefix: str = "") -> str:
    """Return ``"did you mean NAME?"``, or all right names after the words ``otherwise``."""
    names = sorted(right)
    near = nearest(name, names, prefix)
    return f"did you mean {near}?" if near else f"{otherwise} {', '.join(names)}"


def _plain(name: str) -> str:
    return name.upper().replace("-", "_")
