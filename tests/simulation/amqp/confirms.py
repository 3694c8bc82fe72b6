"""The confirms and returned messages of one channel: at once or late, in any order, several by one frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pamqp import commands as spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.amqp.broker import Host

__all__ = ["Confirms"]

_LATE = (0.0, 0.0005, 0.003, 0.02, 0.4)


class _Waiting(NamedTuple):
    """What a message will be answered with: whether it was taken, and how it is returned."""

    accepted: bool
    give_back: Callable[[], object] | None


class Confirms:
    """What a channel in confirm mode has not confirmed yet, by number of the message."""

    def __init__(self, host: Host, send: Callable[[spec.Basic.Ack | spec.Basic.Nack], object]) -> None:
        """Answer by ``send``."""
        self._host, self._send = host, send
        self._waiting: dict[int, _Waiting] = {}
        self.published = 0
        self.over = False

    def add(self, *, accepted: bool, give_back: Callable[[], object] | None) -> None:
        """Confirm the next message, now or later; a returned one is returned before."""
        self.published = tag = self.published + 1
        self._waiting[tag] = _Waiting(accepted, give_back)
        when = self._host.choose(12)
        if when < 6:
            self._answer(tag)
        else:
            self._host.later(_LATE[(when - 6) % len(_LATE)], lambda: self._answer(tag))

    def _answer(self, tag: int) -> None:
        """Answer a message, and perhaps all before it by the same frame."""
        if self.over or tag not in self._waiting:
            return
        kind = self._waiting[tag].accepted
        before = [one for one in self._waiting if one < tag]
        multiple = self._host.choose(2) == 1 and all(self._waiting[one].accepted is kind for one in before)
        answered = [*before, tag] if multiple else [tag]
        for one in answered:
            if (give_back := self._waiting.pop(one).give_back) is not None:
                give_back()
        self._send(spec.Basic.Ack(tag, multiple) if kind else spec.Basic.Nack(tag, multiple, False))
