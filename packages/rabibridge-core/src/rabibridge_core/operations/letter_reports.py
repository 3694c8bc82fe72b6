"""What operations on dead letters return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rabibridge_core.operations.letters import DeadLetter

__all__ = ["LetterList", "LetterRefusal", "RequeueReport"]


class LetterList(NamedTuple):
    """What was found.

    Attributes:
        letters: the letters that were looked for, the oldest first.
        looked_at: how many were looked at.
        waiting: how many there are.
    """

    letters: list[DeadLetter]
    looked_at: int
    waiting: int


class LetterRefusal(NamedTuple):
    """A letter that stays where it is, and why."""

    letter: DeadLetter
    reason: str


@dataclass(slots=True)
class RequeueReport:
    """What became of the letters that were to be moved.

    Attributes:
        requeued: those that are in the queues of their services.
        refused: those that stay, each with the reason.
    """

    requeued: list[DeadLetter] = field(default_factory=list)
    refused: list[LetterRefusal] = field(default_factory=list)
