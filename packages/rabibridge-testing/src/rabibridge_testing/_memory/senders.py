"""The reply addresses of callers, and the messages that they send."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from rabibridge_testing._memory.messages import Message
from rabibridge_testing._memory.traces import Traces

if TYPE_CHECKING:
    from rabibridge_core.transport import Request
    from rabibridge_testing._memory.caller import MemoryCaller
    from rabibridge_testing._memory.messages import CallTrace

__all__ = ["Senders"]


class Senders(Traces):
    """The callers of a broker by their addresses."""

    def __init__(self, *, tracing: bool) -> None:
        """Start without callers; ``tracing``: whether to keep records."""
        super().__init__(tracing=tracing)
        self._callers: dict[int, MemoryCaller] = {}
        self._numbers = itertools.count(1)

    def bind_caller(self, caller: MemoryCaller) -> None:
        """Give a caller a reply address of its own."""
        caller.address = next(self._numbers)
        self._callers[caller.address] = caller

    def unbind_caller(self, caller: MemoryCaller) -> None:
        """Remove a caller's reply address: replies sent to it are lost."""
        if caller.address is not None:
            del self._callers[caller.address]
            caller.address = None

    def _message(
        self, request: Request, reply_to: int | None, trace: CallTrace | None = None, *, sender: int | None = None
    ) -> Message:
        user = self._user(reply_to if sender is None else sender)
        return Message(request, reply_to, next(self._numbers), trace, now=self.now(), sender=sender, user=user)

    def _user(self, address: int | None) -> str:
        caller = None if address is None else self._callers.get(address)
        return "" if caller is None else caller.transport.user
