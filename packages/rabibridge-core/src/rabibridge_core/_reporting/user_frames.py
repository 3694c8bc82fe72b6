"""Finds the frames of a traceback that are a user's."""

from __future__ import annotations

import os
import sysconfig
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traceback import FrameSummary
    from types import TracebackType

__all__ = ["frames_of_user", "is_file_of_user", "is_of_user"]

_LOADERS = frozenset(("asyncio", "importlib", "multiprocessing", "rabibridge", "rabibridge_core", "runpy"))


_ENGINE = os.path.dirname(os.path.dirname(__file__))
_LIBRARIES = tuple(
    os.path.join(folder, "")
    for folder in {_ENGINE, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))}
)
_INSTALLED = tuple(f"{os.sep}{folder}{os.sep}" for folder in ("site-packages", "dist-packages"))


def is_of_user(frame: FrameSummary) -> bool:
    """Tell whether a frame runs code of the program itself: of no installed package, and not of Python."""
    return is_file_of_user(frame.filename)


def is_file_of_user(name: str) -> bool:
    """Tell the same of the file that a frame runs."""
    return not name.startswith(("<frozen", *_LIBRARIES)) and not any(folder in name for folder in _INSTALLED)


def frames_of_user(traceback: TracebackType | None) -> TracebackType | None:
    """Omit the frames before the first one of a user; ``None``: there is none."""
    while traceback is not None:
        frame = traceback.tb_frame
        name = str(frame.f_globals.get("__name__")).partition(".")[0]
        if name not in _LOADERS and not frame.f_code.co_filename.startswith("<frozen"):
            break
        traceback = traceback.tb_next
    return traceback
