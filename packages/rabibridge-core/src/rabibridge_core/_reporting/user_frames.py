"""Finds the frames of a traceback that are a user's: not those of loaders and of this package, which lead to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["frames_of_user"]

_LOADERS = frozenset(("asyncio", "importlib", "multiprocessing", "rabibridge", "rabibridge_core", "runpy"))


def frames_of_user(traceback: TracebackType | None) -> TracebackType | None:
    """Omit the frames before the first one of a user; ``None``: there is none."""
    while traceback is not None:
        frame = traceback.tb_frame
        name = str(frame.f_globals.get("__name__")).partition(".")[0]
        if name not in _LOADERS and not frame.f_code.co_filename.startswith("<frozen"):
            break
        traceback = traceback.tb_next
    return traceback
