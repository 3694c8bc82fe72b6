"""Lists, moves back and deletes dead letters.

They are entries of a stream, which nobody consumes: looking at them changes nothing. Each is moved back in one step.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.naming import service_of_queue
from rabibridge_core._security.resealing import seal_anew
from rabibridge_core._security.signature import SIGNATURE
from rabibridge_core.errors import RabiBridgeError
from rabibridge_core.operations import (
    DeadLetter,
    LetterContents,
    LetterFilter,
    LetterList,
    LetterRefusal,
    OperationError,
    RequeueReport,
)
from rabibridge_core.operations.letter_contents import read_contents
from rabibridge_core.operations.letters import is_service_queue
from rabibridge_core.transport import Reply, Request
from rabibridge_redis._operations.sessions import permitted
from rabibridge_redis._resp.wire import MalformedError, decode_request, encode_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core._security.guard import Guard
    from rabibridge_redis._resp.wire import Envelope
    from rabibridge_redis._session.session import Session

__all__ = ["DeadLetters"]

_EVERY = LetterFilter()
_AT_ONCE = 100
_MOVED, _GONE, _FULL, _NO_QUEUE = 1, 0, -1, -2


class _Stored:
    """An entry of the stream."""

    def __init__(self, identifier: bytes, fields: list[bytes]) -> None:
        found = dict(zip(fields[::2], fields[1::2], strict=True))
        self.id = identifier.decode()
        self.queue, self.reason = found[b"q"].decode("utf-8", "replace"), found[b"r"].decode("utf-8", "replace")
        self.meta, self.body = found[b"m"], found[b"b"]
        self.envelope: Envelope | None
        try:
            self.envelope = decode_request(self.meta)
        except MalformedError:
            self.envelope = None  # that is why it is here

    def letter(self) -> DeadLetter:
        """Return it as operators see it."""
        envelope, foreign = self.envelope, not is_service_queue(self.queue, "") or self.envelope is None
        return DeadLetter(
            id=self.id,
            service="" if foreign else service_of_queue(self.queue),
            queue=self.queue,
            reason=self.reason,
            at=int(self.id.partition("-")[0]) / 1000,
            by="",
            deaths=1,
            deadline=envelope.deadline if envelope else None,
            size=len(self.body),
            content_type=envelope.content_type if envelope else None,
            content_encoding=envelope.content_encoding if envelope else None,
            correlation_id=envelope.correlation_id.decode("utf-8", "backslashreplace") if envelope else "",
            reply_to=envelope.reply_to.decode("utf-8", "backslashreplace") if envelope else "",
            foreign=foreign,
            headers=dict(envelope.headers) if envelope else {},
        )


class DeadLetters:
    """The dead letters of a namespace."""

    def __init__(self, session: Session, *, guard: Guard | None = None) -> None:
        """Use an open connection; ``guard`` signs letters anew that are moved back."""
        self._session, self._guard = session, guard

    async def list(self, which: LetterFilter = _EVERY, *, limit: int = 1000) -> LetterList:
        """Return letters, the oldest first.

        Raises:
            ConfigurationError: the server refuses.
            ConnectionLostError: the connection is lost.
        """
        with permitted("to look at dead letters"):
            waiting = await self._session.commands.ask("XLEN", self._session.prefix + "dead")
        found, looked_at = list[DeadLetter](), 0
        async for stored in self._stored():
            if looked_at == limit:
                break
            looked_at += 1
            if which.matches(letter := stored.letter()):
                found.append(letter)
        return LetterList(found, looked_at, max(waiting, looked_at))

    async def show(self, identifier: str) -> LetterContents | None:
        """Return a letter with its decoded body; ``None`` if there is none with this identifier (any more).

        Raises:
            ConfigurationError, ConnectionLostError: as of :meth:`list`.
        """
        async for stored in self._stored():
            if stored.id == identifier:
                return read_contents(stored.letter(), stored.body)
        return None

    async def requeue(
        self, which: LetterFilter = _EVERY, *, timeout: float | None = None, vouch: bool = False
    ) -> RequeueReport:
        """Move letters back to the queues of their services, in their order; one whose queue is full stays.

        With keys, letters that are signed are signed anew; one whose signature is wrong stays.

        Args:
            which: which of them. Those that cannot be read are left.
            timeout: the time that each of them is given from now on, in seconds; ``None``: what is left of its own
                time. Then those whose time is up stay.
            vouch: not for Redis, which does not tell workers whose calls they are.

        Raises:
            ConfigurationError, ConnectionLostError: as of :meth:`list`.
            OperationError: ``vouch`` is set.
        """
        if vouch:
            raise OperationError("Redis does not tell whose a call is, so that nobody can vouch for it: no --vouch")
        report, stuck = RequeueReport(), dict[str, str]()
        async for stored in self._stored():
            letter = stored.letter()
            if not which.matches(letter):
                continue
            refusal = stuck.get(letter.queue) or await self._move(stored, letter, timeout, stuck)
            if refusal:
                report.refused.append(LetterRefusal(letter, refusal))
            else:
                report.requeued.append(letter)
        return report

    async def _move(self, stored: _Stored, letter: DeadLetter, timeout: float | None, stuck: dict[str, str]) -> str:
        """Move one letter; return why it stays, or an empty text."""
        envelope, now = stored.envelope, time.time()
        if envelope is None or letter.foreign:
            return "it cannot be read"
        if timeout is None and letter.is_expired(now):
            return "its time is up: give it a new one (--timeout)"
        if timeout is None and letter.deadline is not None:
            timeout = letter.deadline - now
        try:
            content = self._content(stored, envelope, timeout)
        except RabiBridgeError as error:
            return f"it cannot be signed anew: {error}"
        meta = encode_request(
            Request(
                routing_key="",
                correlation_id=envelope.correlation_id,
                body=content.body,
                content_type=content.content_type,
                content_encoding=content.content_encoding,
                timeout=timeout,
                headers=content.headers or {},
                persistent=envelope.persistent,
            ),
            envelope.reply_to,
            wants_reply=envelope.wants_reply,
        )
        ttl = "" if timeout is None else int(timeout * 1000)
        with permitted("to move a dead letter"):
            moved = await self._session.ask("requeue", stored.id, letter.queue, ttl, meta, content.body)
        if moved in (_MOVED, _GONE):
            return "" if moved == _MOVED else "it is gone: another operator has moved or deleted it"
        reason = (
            f"the queue {letter.queue!r} is full: try again later"
            if moved == _FULL
            else f"the queue {letter.queue!r} does not exist: start a worker of the service first"
        )
        stuck[letter.queue] = f"{reason} (it waits behind another letter of this queue)"
        return reason

    def _content(self, stored: _Stored, envelope: Envelope, timeout: float | None) -> Any:
        content = Reply(stored.body, envelope.content_type, envelope.content_encoding, envelope.headers)
        if self._guard is None or SIGNATURE not in envelope.headers:
            return content
        return seal_anew(
            self._guard,
            envelope.correlation_id,
            content,
            reply_address=envelope.reply_to,
            persistent=envelope.persistent,
            timeout=timeout,
        )

    async def purge(self, which: LetterFilter = _EVERY, *, foreign: bool = False) -> int:
        """Delete letters; return how many.

        Args:
            which: which of them.
            foreign: whether those that cannot be read are deleted, too.

        Raises:
            ConfigurationError, ConnectionLostError: as of :meth:`list`.
        """
        ids = [
            letter.id
            async for stored in self._stored()
            if which.matches(letter := stored.letter()) and (foreign or not letter.foreign)
        ]
        deleted = 0
        with permitted("to delete dead letters"):
            for first in range(0, len(ids), _AT_ONCE):
                deleted += await self._session.ask("drop_letters", *ids[first : first + _AT_ONCE])
        return deleted

    async def _stored(self) -> AsyncIterator[_Stored]:
        """Read the letters that are there now, a few at a time."""
        key, link = self._session.prefix + "dead", self._session.commands
        with permitted("to look at dead letters"):
            newest = await link.ask("XREVRANGE", key, "+", "-", "COUNT", "1")
            start = "-"
            while newest:
                entries = await link.ask("XRANGE", key, start, newest[0][0], "COUNT", str(_AT_ONCE))
                for identifier, fields in entries:
                    yield _Stored(identifier, fields)
                if len(entries) < _AT_ONCE:
                    return
                start = f"({entries[-1][0].decode()}"
