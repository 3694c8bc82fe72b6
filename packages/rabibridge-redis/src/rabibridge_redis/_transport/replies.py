"""Sends replies, asks whether callers are still there, and keeps what no worker could process."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import hiredis

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import RabiBridgeError
from rabibridge_redis._resp.refusals import is_blocked
from rabibridge_redis._resp.wire import REPLY, encode_message
from rabibridge_redis._transport.batches import ReplyBatch
from rabibridge_redis._transport.declaration import look_at_queue
from rabibridge_redis._transport.receivers import Receivers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge_core.transport import Reply, ServiceQueue
    from rabibridge_redis._session.session import Session

__all__ = ["Replies"]

_log = get_logger(__name__)
_RETRY = 0.25
"""Interval in seconds at which is sent again what the server does not accept: it does not tell when it does."""
_TOO_MUCH_KEPT = 0
_LATE_TIMEOUT = 5.0
"""How long closing waits for a lost connection to come back, if replies wait for it, in seconds."""
_RECEIVER = re.compile(rb"[0-9a-f]{32}\.[0-9]{1,9}")
"""The form of a reply address: a request cannot make a worker write anywhere else."""


class Replies(Receivers):
    """What a transport sends for its consumers.

    Attributes:
        name: the name under which the server lists the connection.
    """

    def __init__(self, name: str, dead_letter_bytes: int) -> None:
        """Start without a session; keep at most ``dead_letter_bytes`` of dead letters."""
        super().__init__()
        self.name = name
        self._dead_letter_bytes = dead_letter_bytes
        self._late: list[tuple[bytes, bytes, Reply]] = []
        self._late_batches: list[tuple[bytes, ReplyBatch]] = []
        self._batches: dict[bytes, ReplyBatch] = {}

    async def count_consumers(self, queue: ServiceQueue, /) -> int | None:
        """Return how many consumers a queue has; ``None``: there is no such queue."""
        session = self._newest if self._newest is not None and self._newest.error is None else None
        found = await look_at_queue(session, self.name, queue.name)
        return None if found is None else found[0]

    async def finish_late_replies(self, writable: Callable[[], Awaitable[None]]) -> None:
        """If replies wait for the next session, wait for it, a few seconds at most; ``writable`` returns with it."""
        if not (self._late or self._late_batches):
            return
        try:
            async with asyncio.timeout(_LATE_TIMEOUT):
                await writable()
        except (RabiBridgeError, TimeoutError) as error:
            count = len(self._late) + sum(len(batch.receivers) for _, batch in self._late_batches)
            _log.warning(
                "%s: %d replies are lost: it is closed without a connection", self.name, count,
                extra=log_fields("reply.lost", instance=self.name, count=count, error=error),
            )  # fmt: skip

    def send_late_replies(self) -> None:
        """Called with a new session: send what was to be sent while there was none."""
        late, self._late = self._late, []
        for receiver, correlation_id, reply in late:
            self.send_reply(receiver, correlation_id, reply)
        batches, self._late_batches = self._late_batches, []
        for token, batch in batches:
            self._write_again(token, batch)

    def send_reply(self, receiver: bytes, correlation_id: bytes, reply: Reply, /) -> None:
        """Send a reply at the end of this turn of the loop; without a session, on the next one."""
        session = self._newest
        if session is None or session.error is not None:
            self._late.append((receiver, correlation_id, reply))
            return
        if not _RECEIVER.fullmatch(receiver):
            return
        if not self._batches:
            session.commands.before_write(self.write_replies)
        token = receiver[:32]
        if (batch := self._batches.get(token)) is None:
            batch = self._batches[token] = ReplyBatch()
        if batch.add(receiver, encode_message(REPLY, receiver, correlation_id, reply), reply.body):
            del self._batches[token]
            self._write(session, token, batch)

    def write_replies(self) -> None:
        """Send the replies of this turn."""
        batches, self._batches = self._batches, {}
        if (session := self._newest) is not None:
            for token, batch in batches.items():
                self._write(session, token, batch)

    def _write(self, session: Session, token: bytes, batch: ReplyBatch) -> None:
        inbox = session.key("i", token.decode())
        session.commands.send(self._replies_sent, (token, batch), "XADD", inbox, "NOMKSTREAM", "*", *batch.fields)

    def _replies_sent(self, context: tuple[bytes, ReplyBatch], answer: Any) -> None:
        token, batch = context
        receivers = batch.receivers
        if answer is None:
            for receiver in dict.fromkeys(receivers):
                self.caller_gone(receiver)
        elif isinstance(answer, hiredis.ReplyError) and is_blocked(answer):
            asyncio.get_running_loop().call_later(_RETRY, self._write_again, token, batch)
        elif isinstance(answer, hiredis.ReplyError):
            _log.warning(
                "%s: %d replies are lost: %s",
                self.name,
                len(receivers),
                answer,
                extra=log_fields("reply.lost", instance=self.name, count=len(receivers)),
            )

    def _write_again(self, token: bytes, batch: ReplyBatch) -> None:
        """Send replies again that the server did not accept, as its memory or its disk is full."""
        session = self._newest
        if session is None or session.error is not None:
            self._late_batches.append((token, batch))
        else:
            self._write(session, token, batch)

    def probe(self, caller: bytes, /) -> None:
        """Ask whether a caller is still there."""
        session = self._newest
        if session is not None and _RECEIVER.fullmatch(caller):
            session.run("alive", self._probed, caller, caller[:32])

    def _probed(self, caller: bytes, answer: Any) -> None:
        if answer == 0:
            self.caller_gone(caller)

    def keep_dead(self, queue: str, reason: str, deliveries: int, meta: bytes, body: bytes, /) -> None:
        """Store a request among the dead letters."""
        if (session := self._newest) is not None:
            letter = queue, reason, deliveries, meta, body
            session.run("dead_letter", self._letter_kept, letter, *letter, self._dead_letter_bytes)

    def _letter_kept(self, letter: tuple[str, str, int, bytes, bytes], answer: Any) -> None:
        if isinstance(answer, hiredis.ReplyError) and is_blocked(answer):
            asyncio.get_running_loop().call_later(_RETRY, self.keep_dead, *letter)
        elif isinstance(answer, hiredis.ReplyError):
            _log.error(
                "%s: a dead letter is lost: %s",
                self.name,
                answer,
                extra=log_fields("letter.lost", instance=self.name),
            )
        elif answer == _TOO_MUCH_KEPT and (session := self._newest) is not None:
            session.run("trim", self._letter_kept, letter, self._dead_letter_bytes)
