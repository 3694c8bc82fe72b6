"""Dead letters for the page. Each look has a connection of its own, since it takes letters out for a moment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rabibridge._operations.chosen import operator_of
from rabibridge_core.operations.letters import LetterFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rabibridge_core.operations.letters import DeadLetter
    from rabibridge_core.settings import Settings

__all__ = ["Letters"]

_TEXT = 500


class Letters:
    """Looks at dead letters and puts them back.

    Args:
        settings: returns how to connect.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings

    async def look(self, limit: int) -> dict[str, Any]:
        """Return the first letters, and how many there are."""
        async with operator_of(self._settings()).dead_letters(beside_consumers=False) as box:
            found = await box.list(limit=limit)
        now = time.time()
        letters = [_row(position, letter, now) for position, letter in enumerate(found.letters, 1)]
        return {"time": now, "total": found.waiting, "letters": letters}

    async def requeue(self, letters: Sequence[str], timeout: float | None) -> dict[str, Any]:
        """Put letters back into the queues of their services; return what became of them.

        Args:
            letters: their ids.
            timeout: the time in seconds that each is given; ``None``: what is left of its own.
        """
        async with operator_of(self._settings()).dead_letters(beside_consumers=False) as box:
            report = await box.requeue(LetterFilter(ids=frozenset(letters)), timeout=timeout)
        said = f"{len(report.requeued)} requeued"
        if report.refused:
            said += f"; {len(report.refused)} stay: {report.refused[0].reason}"
        return {"said": said[:_TEXT], "left": len(report.refused)}


def _row(position: int, letter: DeadLetter, now: float) -> dict[str, Any]:
    return {
        "id": letter.id,
        "position": position,
        "service": (letter.service or letter.queue)[:_TEXT] or None,
        "reason": letter.reason[:_TEXT],
        "time": letter.at,
        "by": letter.by[:_TEXT],
        "deaths": letter.deaths,
        "left": None if letter.deadline is None else letter.deadline - now,
        "size": letter.size,
        "ours": not letter.foreign,
    }
