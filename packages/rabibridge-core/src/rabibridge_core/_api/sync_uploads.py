"""Arguments that are fed from an iterator of a thread: it is drawn from in that thread, some items at a time."""

from __future__ import annotations

from sys import getsizeof
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_core._client.upload_arguments import UploadArgument

__all__ = ["Drawing", "is_drawn_here"]

_ITEMS, _BYTES, _SECONDS = 1024, 64 * 1024, 0.001
"""How much is drawn at a time: what comes first. An iterator that takes its time gives one item at a time."""


class Drawing:
    """Draws from the iterator of a caller, in the thread of the caller."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        self._error: Exception | None = None

    def __call__(self, inputs: Iterator[Any]) -> list[Any] | Exception:
        """Return the next items, at least one; an empty list at the end; or what the iterator has raised."""
        if self._error is not None:
            return self._error
        drawn: list[Any] = []
        size, until = 0, monotonic() + _SECONDS
        try:
            for item in inputs:
                drawn.append(item)
                size += getsizeof(item)
                if len(drawn) >= _ITEMS or size >= _BYTES or monotonic() >= until:
                    break
        except Exception as error:  # noqa: BLE001 - it is raised again where the call ends
            self._error = error
            return drawn or error
        return drawn


def is_drawn_here(found: UploadArgument | None) -> bool:
    """Tell whether an argument is fed from an iterator of this thread, and not from an async one."""
    return found is not None and not hasattr(type(found.source), "__aiter__")
