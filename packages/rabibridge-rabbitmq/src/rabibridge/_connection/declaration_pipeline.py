"""Sends the declarations of many services without waiting in between, on a few channels.

A request is what belongs to one service: methods that the broker does not answer, and at the end one that it does. A
broker that refuses one closes the channel. The requests behind it, which it has dropped, are sent again on another
channel, and so are those that wait behind one that the broker leaves unanswered (its queue is on a node that is down).
All of them may be sent twice: they have the same effect as sent once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from rabibridge._connection.own_channel import NotReachedError, OwnChannel
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rabibridge._connection.session import Session

__all__ = ["DeclarationPipeline"]

_CHANNELS = 16
"""How many channels are used at a time: more do not make a broker faster."""
_SHARE = 8
"""One part in so many of the channels that the broker allows may be used, where it allows few."""
_IDLE = 0.05
"""How long channels are kept for further requests, in seconds."""
_SLOW_AFTER = 1.0
"""Time in seconds after which requests no longer wait behind one that is not answered."""


class DeclarationPipeline:
    """Opens channels on demand, and closes them when no request is under way any longer."""

    def __init__(self, session: Session) -> None:
        """Open channels on ``session``."""
        self._session = session
        self._channels: deque[_DeclarationChannel] = deque()
        self._set_aside: list[_DeclarationChannel] = []
        self._users = 0
        self._closing: asyncio.TimerHandle | None = None

    async def request(self, methods: Callable[[], Sequence[bytes]], answer: bytes) -> None:
        """Have the broker carry out methods, in this order.

        Args:
            methods: returns them; called again if they must be sent again. All but the last are not answered.
            answer: identifier of the answer to the last one.

        Raises:
            AMQPError: as aiormq, if the broker refuses one of them.
            ConfigurationError: all channels that the broker allows on this connection are open.
            ConnectionLostError: the connection is lost.
        """
        self._users += 1
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        try:
            while True:
                encoded = methods()
                try:
                    await self._choose().request(encoded, answer)
                except NotReachedError:
                    continue
                return
        finally:
            self._users -= 1
            if not self._users:
                self._closing = asyncio.get_running_loop().call_later(_IDLE, self._close_all)

    def _close_all(self) -> None:
        self._closing = None
        for channel in (*self._channels, *self._set_aside):
            channel.start_closing()
        self._channels.clear()
        self._set_aside.clear()

    def _choose(self) -> _DeclarationChannel:
        """Return the channel that was used least recently, or a new one if that is in use and more may be opened."""
        channels, most = self._channels, min(_CHANNELS, max(1, self._session.channel_numbers.maximum // _SHARE))
        while channels and (channels[0].stuck or not channels[0].open):
            channel = channels.popleft()
            if channel.open:
                self._set_aside.append(channel)
        if not channels or (channels[0].under_way and len(channels) < most):
            try:
                channels.appendleft(_DeclarationChannel(self._session))
            except ConfigurationError:  # no further channel may be opened
                if not channels:
                    return self._stuck_channel()
        channels.rotate(-1)
        return channels[-1]

    def _stuck_channel(self) -> _DeclarationChannel:
        """Return a channel on which the broker may carry on one day; raise ConfigurationError if there is none."""
        channel = next((channel for channel in self._set_aside if channel.open), None)
        return channel or _DeclarationChannel(self._session)


class _DeclarationChannel(OwnChannel):
    """A channel that gives up what waits behind a request for which there is no answer."""

    def __init__(self, session: Session) -> None:
        super().__init__(session, 0)
        self._looked_at: object = None  # what had no answer at the last look
        self._unanswered: object = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def stuck(self) -> bool:
        """Whether the broker leaves a request unanswered."""
        return bool(self._awaited) and self._awaited[0] is self._unanswered

    def request(self, methods: Sequence[bytes], *answers: bytes) -> asyncio.Future[bytes]:
        answered = super().request(methods, *answers)
        if self._timer is None:
            self._look_later()
        return answered

    def _look_later(self) -> None:
        self._looked_at = self._awaited[0] if self._awaited else None
        due = self._loop.time() + _SLOW_AFTER
        self._timer = self._loop.call_at(due, self._look, due) if self._awaited else None

    def _look(self, due: float) -> None:
        on_time = self._loop.time() - due < _SLOW_AFTER / 2  # else answers may have arrived that nobody has read yet
        blocked = self._multiplexer.blocked is not None  # the broker reads nothing at all
        if on_time and not blocked and self._awaited and self._awaited[0] is self._looked_at:
            self._release()
        self._look_later()

    def _release(self) -> None:
        first, *behind = self._awaited
        if first[1] is None:
            return  # not even the channel is open: the broker answers nothing
        self._unanswered = first
        for _, answered in behind:
            if answered is not None and not answered.done():
                answered.set_exception(NotReachedError(f"the broker does not answer on channel {self.number}"))
