"""Replies whose service takes no more calls, so that it has no channel for them, or will not get one again.

A worker that stops finishes what it runs. If its connection is lost meanwhile, an at-most-once call goes on: no other
worker will run it, so none will answer its caller. Its reply leaves on the next connection, on the channel for replies
that are sent with care.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from rabibridge._amqp.properties import Properties
    from rabibridge._transport.worker_session import WorkerSession
    from rabibridge_core.transport import Reply

__all__ = ["LateReplies"]

_log = get_logger(__name__)
_WAITING_MAX = 1024


class LateReplies:
    """Sends replies in their order, one at a time, on this connection or on the next one."""

    def __init__(self, name: str) -> None:
        """Wait for the first connection of the transport that the broker lists under ``name``."""
        self._name = name
        self._waiting: deque[tuple[Properties, Reply]] = deque(maxlen=_WAITING_MAX)
        self._worker_session: WorkerSession | None = None
        self._sending: WorkerSession | None = None
        self._sent = asyncio.Event()
        self._sent.set()

    def use(self, worker_session: WorkerSession) -> None:
        """Send on a new connection, beginning with what waits."""
        self._worker_session = worker_session
        self._send_next()

    def send(self, properties: Properties, reply: Reply) -> None:
        """Send the reply to the request with these properties; if more than 1,024 wait, the oldest one is dropped."""
        self._waiting.append((properties, reply))
        self._sent.clear()
        self._send_next()

    async def wait_sent(self, seconds: float) -> None:
        """Wait until none waits, at most for this time."""
        try:
            async with asyncio.timeout(seconds):
                await self._sent.wait()
        except TimeoutError:
            _log.warning(
                "%s: %d replies are lost: it is closed without a connection", self._name, len(self._waiting),
                extra=log_fields("reply.lost", instance=self._name, count=len(self._waiting)),
            )  # fmt: skip

    def _send_next(self) -> None:
        worker_session = self._worker_session
        if worker_session is None or worker_session is self._sending or worker_session.session.error is not None:
            return
        if not self._waiting:
            self._sent.set()
            return
        self._sending, first = worker_session, self._waiting[0]

        def done(refusal: Exception | None) -> None:
            if self._sending is worker_session:
                self._sending = None
            if refusal is not None and worker_session.session.error is not None:
                return  # it is the first on the next connection
            if self._waiting and self._waiting[0] is first:
                self._waiting.popleft()
            self._send_next()

        worker_session.replies.send(*first, done)
