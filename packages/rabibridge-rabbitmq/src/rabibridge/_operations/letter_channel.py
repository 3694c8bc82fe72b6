"""A channel that takes messages from a queue one by one, publishes with confirms, and acknowledges.

It keeps the properties of a message byte for byte, whatever is in them: aiormq would decode them, and end the
connection for headers that it does not understand. Messages are fetched with ``basic.get``: a consumer would take part
in the distribution of what arrives, and would keep a queue from being deleted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from rabibridge._amqp.control_methods import method_frames
from rabibridge._amqp.frames import FrameError, content, short_string
from rabibridge._amqp.methods import DELIVER, ack, publish_method, reject
from rabibridge._connection.error_translation import channel_error, translated
from rabibridge._connection.own_channel import OwnChannel
from rabibridge_core.operations.errors import OperationError

if TYPE_CHECKING:
    from typing import TypeVar

    from rabibridge._amqp.properties import Properties
    from rabibridge._connection.session import Session
    from rabibridge_core.errors import ConnectionLostError

    T = TypeVar("T")

__all__ = ["LetterChannel", "TakenMessage"]

_ANSWER_TIMEOUT = 30.0
"""How long the broker may take for one message, in seconds."""
_MAX_BODY = 512 * 2**20
"""The largest body that RabbitMQ can be configured for, in bytes."""
_CONFIRM_SELECT, _CONFIRM_SELECT_OK = b"\x00\x55\x00\x0a\x00", b"\x00\x55\x00\x0b"
_GET = b"\x00\x3c\x00\x46\x00\x00"
_GET_OK, _GET_EMPTY = b"\x00\x3c\x00\x47", b"\x00\x3c\x00\x48"


class TakenMessage(NamedTuple):
    """A message that was taken from a queue and is not acknowledged yet."""

    tag: int
    properties: Properties
    body: bytes


class LetterChannel(OwnChannel):
    """Takes and publishes messages. What is not acknowledged when it closes is in its queue again, where it was."""

    def __init__(self, session: Session) -> None:
        """Use a channel of ``session``; :meth:`open_it` opens it."""
        super().__init__(session, _MAX_BODY)
        self._session = session
        self._gets: deque[asyncio.Future[TakenMessage | None]] = deque()
        self._published = 0
        self._confirms: dict[int, asyncio.Future[str]] = {}
        self._returned = ""

    async def open_it(self) -> None:
        """Open the channel, and let the broker confirm what is published on it."""
        with translated("a channel cannot be opened"):
            async with self._session.timeout():
                await self.request((_CONFIRM_SELECT,), _CONFIRM_SELECT_OK)

    async def close(self) -> None:
        """Close it, which puts back what was not acknowledged."""
        with translated("a channel cannot be closed"):
            async with self._session.timeout():
                await self.start_closing()

    async def take(self, queue: bytes) -> TakenMessage | None:
        """Take the message at the head of a queue; return ``None`` if there is none.

        Raises:
            ConfigurationError: there is no such queue, or it may not be read.
            ConnectionLostError: the connection is lost.
            OperationError: the broker blocks the connection, or does not answer.
        """
        taken: asyncio.Future[TakenMessage | None] = asyncio.get_running_loop().create_future()
        self._gets.append(taken)
        self.write(method_frames(self.number, (_GET + short_string(queue) + b"\0",)))
        return await self._answer(taken, f"the queue {queue.decode()!r} cannot be read")

    async def publish(self, exchange: bytes, key: bytes, flags: int, properties: bytes, body: bytes) -> str:
        """Publish a mandatory message; return why it is in no queue, or an empty text once it is in one.

        Raises:
            ConfigurationError: the user may not publish there.
            ConnectionLostError: the connection is lost. The message may be in its queue.
            OperationError: the broker blocks the connection, or does not answer. The message may be in its queue.
        """
        self._published += 1
        confirmed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._confirms[self._published] = confirmed
        self._returned = ""
        method = publish_method(self.number, exchange, key, mandatory=True)
        self.write(content(self.number, method, flags, properties, body, self.max_payload))
        return await self._answer(confirmed, f"a message for {key.decode('utf-8', 'replace')!r} cannot be published")

    def acknowledge(self, tag: int) -> None:
        """Remove a message from the queue that it was taken from."""
        self.write(ack(self.number, tag))

    def put_back(self, tag: int) -> None:
        """Return a message to its place in the queue that it was taken from."""
        self.write(reject(self.number, tag, requeue=True))

    async def _answer(self, future: asyncio.Future[T], what: str) -> T:
        if self._session.multiplexer.blocked is not None:
            self._fail(self._blocked())
        elif not self.open:
            self._fail(self._why_closed())
        with translated(what):
            try:
                async with asyncio.timeout(_ANSWER_TIMEOUT):
                    return await future
            except TimeoutError:
                raise OperationError(f"{what}: the broker did not answer within {_ANSWER_TIMEOUT:g} s") from None

    def handle_other(self, method: bytes, data: bytes, start: int, end: int) -> bool:
        """Take the answer to ``basic.get``, or what every channel receives."""
        if method == _GET_OK:
            # Its content follows as that of a delivery. Only those of redelivered messages keep their properties raw.
            if end - start < 14:
                raise FrameError("the payload of basic.get-ok is truncated")
            self._method, self._tag = DELIVER, int.from_bytes(data[start + 4 : start + 12], "big")
            self._redelivered = True
            return True
        if method == _GET_EMPTY:
            self._taken(None)
            return True
        return super().handle_other(method, data, start, end)

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        """Hand over a message that was taken."""
        self._taken(TakenMessage(tag, properties, body))

    def _taken(self, message: TakenMessage | None) -> None:
        if self._gets and not (future := self._gets.popleft()).done():  # else it goes back when the channel closes
            future.set_result(message)

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        """Note that the message is in no queue: one at a time is under way, whose confirm follows."""
        self._returned = f"{code} {text}"

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        """End a publish."""
        for number in [number for number in self._confirms if number == tag or (multiple and number < tag)]:
            future = self._confirms.pop(number)
            if not future.done():
                future.set_result(self._returned if accepted else "refused")

    def closed(self, error: ConnectionLostError) -> None:
        """End what is under way, since the broker has closed the channel or the connection is lost."""
        self._fail(self._why_closed(error))

    def flow_changed(self) -> None:
        """End what is under way if the broker blocks the connection: it reads nothing until the alarm is over."""
        if self._session.multiplexer.blocked is not None:
            self._fail(self._blocked())

    def _why_closed(self, error: ConnectionLostError | None = None) -> Exception:
        if self.close_code:
            return channel_error(self.close_code, self.close_text)
        return error or self._session.error or OperationError(f"channel {self.number} is closed")

    def _blocked(self) -> OperationError:
        reason = self._session.multiplexer.blocked
        return OperationError(
            f"the broker accepts no messages now: {reason}. Free memory or disk space on its host, then try again; "
            "'rabibridge doctor' tells when the alarm is over"
        )

    def _fail(self, error: Exception) -> None:
        futures: list[asyncio.Future[Any]] = [*self._gets, *self._confirms.values()]
        self._gets.clear()
        self._confirms.clear()
        for future in futures:
            if not future.done():
                future.set_exception(error)
