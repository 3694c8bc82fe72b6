"""Lists, moves back and deletes dead letters.

AMQP has no way to look at a message without taking it. So all of these take letters from the queue, one after another,
and those that stay go back when the channel is closed: by this program, or by the broker if this program dies. RabbitMQ
puts them where they were, in classic queues. Operators take turns: an exclusive queue is the lock. Where others consume
from the queue, nothing is taken unless that is asked for: they would get what comes later first.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from aiormq import exceptions as amqp

from rabibridge._amqp.frames import FrameError
from rabibridge._amqp.reply_to import caller_address
from rabibridge._connection.error_translation import translated
from rabibridge._operations.letter_channel import LetterChannel
from rabibridge._operations.letters import read_letter
from rabibridge._operations.queue_states import state_of
from rabibridge._operations.requeued_message import requeued_properties
from rabibridge_core._security.resealing import seal_anew
from rabibridge_core._security.signature import SIGNATURE
from rabibridge_core.errors import RabiBridgeError
from rabibridge_core.operations.errors import OperationError
from rabibridge_core.operations.letter_contents import LetterContents, read_contents
from rabibridge_core.operations.letter_reports import LetterList, LetterRefusal, RequeueReport
from rabibridge_core.operations.letters import DeadLetter, LetterFilter
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge._connection.session import Session
    from rabibridge._operations.letter_channel import TakenMessage
    from rabibridge_core._security.guard import Guard

__all__ = ["DeadLetters"]

_LOCK_TIMEOUT = 10.0
_LOCK_INTERVAL = 0.1
_EVERY = LetterFilter()


class DeadLetters:
    """The dead letters of a namespace on a virtual host. Operations take turns."""

    def __init__(self, session: Session, *, guard: Guard | None = None, beside_consumers: bool = False) -> None:
        """Use an open connection; no other object of this class may use it.

        Args:
            session: the connection.
            guard: signs letters anew that are moved back; ``None``: there are no keys.
            beside_consumers: whether to take letters out also while others consume from the queue. They get each letter
                once all the same, but perhaps in another order.
        """
        self._session = session
        self._guard = guard
        self._queue = session.names.dead_letters
        self._beside_consumers = beside_consumers
        self._lock_queue = f"{self._queue}.lock"
        self._turn = asyncio.Lock()

    async def list(self, which: LetterFilter = _EVERY, *, limit: int = 1000) -> LetterList:
        """Return letters, the oldest first, and leave the queue as it is.

        Args:
            which: which of them.
            limit: how many to look at, from the oldest on. That many are out of the queue for a moment.

        Raises:
            ConfigurationError: the queue may not be read.
            ConnectionLostError: the connection is lost.
            OperationError: another operator is at work, others consume from the queue, or the broker does not answer.
        """
        found = list[DeadLetter]()
        async with self._taken(limit) as (waiting, _, letters):
            looked_at = 0
            async for letter, _ in letters:
                looked_at += 1
                if which.matches(letter):
                    found.append(letter)
        return LetterList(found, looked_at, max(waiting, looked_at))

    async def show(self, identifier: str) -> LetterContents | None:
        """Return a letter with its decoded body; ``None`` if there is none with this identifier (any more).

        The body is decoded only if its format runs no code. Values whose names suggest a secret are replaced.

        Raises:
            ConfigurationError, ConnectionLostError, OperationError: as of :meth:`list`.
        """
        which = LetterFilter(ids=(identifier,))
        async with self._taken(None) as (_, _, letters):
            async for letter, message in letters:
                if which.matches(letter):
                    return read_contents(letter, message.body)
        return None

    async def requeue(
        self, which: LetterFilter = _EVERY, *, timeout: float | None = None, vouch: bool = False
    ) -> RequeueReport:
        """Move letters back to the queues of their services, in their order.

        A letter leaves the queue of dead letters once the broker has confirmed it in the queue of its service. If this
        program or the connection ends in between, the letter is in both; it is never in neither. A letter that cannot
        be moved stays, and so do those behind it that are for the same queue. Only letters that are there when it
        begins are moved.

        With keys, letters that are signed are signed anew, since workers drop what they have seen and what has expired;
        one whose signature is wrong stays. Without, each keeps its signature.

        Args:
            which: which of them. Foreign ones are left.
            timeout: the time that each of them is given from now on, in seconds; ``None``: what is left of its own
                time. Then those whose time is up stay.
            vouch: whether they become calls of this user. Otherwise they are of nobody, and services that allow only
                some users refuse them: a letter may have been sent by anybody.

        Raises:
            ConfigurationError, ConnectionLostError, OperationError: as of :meth:`list`; also, the user may not publish
                to the queues of services.
        """
        report, user_id = RequeueReport(), self._session.user_id if vouch else b""
        stuck: dict[str, str] = {}  # queues that take no letter now, and why
        async with self._taken(None) as (waiting, channel, letters):
            if waiting:  # a broker that accepts no messages says so after the first, which is for no queue
                await channel.publish(b"", secrets.token_hex(16).encode(), 0, b"", b"")
            async for letter, message in letters:
                if not which.matches(letter):
                    continue
                refusal = stuck.get(letter.queue) or await self._move(channel, letter, message, timeout, stuck, user_id)
                if refusal:
                    report.refused.append(LetterRefusal(letter, refusal))
                else:
                    report.requeued.append(letter)
        return report

    async def _move(
        self,
        channel: LetterChannel,
        letter: DeadLetter,
        message: TakenMessage,
        timeout: float | None,
        stuck: dict[str, str],
        user_id: bytes,
    ) -> str:
        """Move one letter; return why it stays, or an empty text."""
        now = time.time()
        if letter.foreign:
            return "it is foreign: it did not come from the queue of a service"
        if timeout is None and letter.is_expired(now):
            return "its time is up: give it a new one (--timeout)"
        body, signed = message.body, None
        try:
            if self._guard is not None and SIGNATURE in letter.headers:
                sealed = self._sealed(self._guard, letter, message, timeout)
                body, signed = sealed.body, sealed.headers
            flags, properties = requeued_properties(
                letter, message.properties, timeout=timeout, now=now, user_id=user_id, signed=signed
            )
        except FrameError as error:
            return f"it cannot be sent: {error}"
        except RabiBridgeError as error:
            return f"it cannot be signed anew: {error}"
        refusal = await channel.publish(b"", letter.queue.encode(), flags, properties, body)
        if not refusal:
            channel.acknowledge(message.tag)
            return ""
        if refusal == "refused":
            reason = f"the queue {letter.queue!r} is full: try again later"
        else:
            reason = f"the queue {letter.queue!r} does not exist: start a worker of the service first"
        stuck[letter.queue] = f"{reason} (it waits behind another letter of this queue)"
        return reason

    @staticmethod
    def _sealed(guard: Guard, letter: DeadLetter, message: TakenMessage, timeout: float | None) -> Reply:
        properties = message.properties
        content = Reply(message.body, properties.content_type, properties.content_encoding, letter.headers)
        return seal_anew(
            guard,
            properties.correlation_id,
            content,
            reply_address=caller_address(properties.reply_to),
            persistent=properties.persistent,
            timeout=timeout,
        )

    async def purge(self, which: LetterFilter = _EVERY, *, foreign: bool = False) -> int:
        """Delete letters; return how many.

        Args:
            which: which of them.
            foreign: whether messages that did not come from queues of services are deleted, too.

        Raises:
            ConfigurationError, ConnectionLostError, OperationError: as of :meth:`list`.
        """
        deleted = 0
        async with self._taken(None) as (_, channel, letters):
            async for letter, message in letters:
                if which.matches(letter) and (foreign or not letter.foreign):
                    channel.acknowledge(message.tag)
                    deleted += 1
        return deleted

    @asynccontextmanager
    async def _taken(
        self, limit: int | None
    ) -> AsyncIterator[tuple[int, LetterChannel, AsyncIterator[tuple[DeadLetter, TakenMessage]]]]:
        """Lock the queue and take letters out; those that are not acknowledged go back at the end."""
        async with self._locked():
            state = await state_of(self._session, self._queue)
            waiting = 0 if state is None else state.waiting
            if state is not None and state.consumers and not self._beside_consumers:
                raise OperationError(
                    f"the queue {self._queue!r} has consumers ({state.consumers}): they would get letters in another "
                    "order if others were taken out meanwhile. Stop them first, or accept that with --beside-consumers"
                )
            channel = LetterChannel(self._session)
            await channel.open_it()
            try:
                yield waiting, channel, self._letters(channel, waiting if limit is None else min(limit, waiting))
            finally:
                if self._session.error is None and self._session.multiplexer.blocked is None:
                    await channel.close()

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        async with self._turn:
            locked = await self._lock()
            try:
                yield
            finally:
                if locked and self._session.error is None and self._session.multiplexer.blocked is None:
                    with translated(f"the queue {self._lock_queue!r} cannot be deleted"):
                        async with self._session.timeout(), self._session.temporary_channel() as lock:
                            await lock.queue_delete(self._lock_queue)

    async def _lock(self) -> bool:
        """Wait until no other operator is at work; return whether that is known."""
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while True:
            with translated(f"the queue {self._lock_queue!r} cannot be declared"), suppress(amqp.ChannelLockedResource):
                try:
                    async with self._session.timeout(), self._session.temporary_channel() as lock:
                        await lock.queue_declare(self._lock_queue, exclusive=True)
                except amqp.ChannelAccessRefused:
                    return False  # least privilege: such operators have to agree among themselves
                return True
            if time.monotonic() > deadline:
                raise OperationError(
                    f"another operator has been at work on the dead letters for {_LOCK_TIMEOUT:g} s: try again later"
                )
            await asyncio.sleep(_LOCK_INTERVAL)  # the broker does not tell when the lock is free

    async def _letters(self, channel: LetterChannel, count: int) -> AsyncIterator[tuple[DeadLetter, TakenMessage]]:
        """Take up to ``count`` letters, and so none that arrives meanwhile."""
        for _ in range(count):
            message = await channel.take(self._queue.encode())
            if message is None:
                return
            yield read_letter(message.properties, message.body, self._session.names.namespace), message
