"""Asks all workers about themselves, and collects their answers.

How many workers there are is not known. What is known is used: those that answered the last time are waited for, and
``look`` may find others that must be there, by the consumers of the queues of services.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from rabibridge_core._client.timeouts import call_timeout_error, seconds_of
from rabibridge_core._protocol.control import (
    ControlQuestion,
    UnreadableControlError,
    control_codec,
    control_key,
    decode_answer,
    encode_question,
)
from rabibridge_core._protocol.headers import WORKER_ID
from rabibridge_core._protocol.large_bodies import LargeBodyError, off_loop
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import NoRouteError
from rabibridge_core.transport import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from rabibridge_core._client.call_table import CallTable
    from rabibridge_core._protocol.control import ControlAnswer
    from rabibridge_core.errors import ConfigurationError, ConnectionLostError
    from rabibridge_core.transport import Caller, Refusal, Reply

__all__ = ["DEFAULT_TIMEOUT", "ControlAsker", "Heard", "TimedAnswer"]

_log = get_logger(__name__)
DEFAULT_TIMEOUT = 2.0
"""How long answers are waited for at most, in seconds."""
_QUIET = 0.25
"""After so many seconds without an answer, or as long again as the answers took, no others are expected, unless a
worker is known that has not answered. The first answer is waited for longer: the broker said that there is a worker."""
_FIRST_RESEND, _MAX_RESEND = 0.5, 4.0
_WORKERS_MAX = 16_384
"""How many workers are told apart: more would be forged."""


class ControlSender(Protocol):
    """What is used of a client.

    Attributes:
        calls: hears the answers.
    """

    calls: CallTable

    def connected(self) -> Caller:
        """Return what sends control requests; raise ConnectionLostError if there is no connection."""
        ...

    async def admitted(self, func_name: str, timeout: float | None, seconds: float | None) -> float | None:
        """Wait until something may be sent; return the time left after that, in seconds."""
        ...


class TimedAnswer:
    """The answer of one worker, and how long it took.

    Attributes:
        answer: the answer.
        seconds: how long it took.
        clock_difference: how far the clock of the worker is ahead, in seconds.
    """

    __slots__ = ("answer", "clock_difference", "seconds")

    def __init__(self, answer: ControlAnswer, seconds: float, clock_difference: float) -> None:
        """Store them."""
        self.answer = answer
        self.seconds = seconds
        self.clock_difference = clock_difference


class Heard:
    """What one control request has heard so far. It implements ``BroadcastEvents``.

    Attributes:
        routing_key: empty: there is nothing to cancel.
        replies: the answers that were not read yet, with the time at which they arrived.
        accepted: whether the broker has passed it on.
        error: why no more answers arrive.
        nobody: whether the broker knows of no worker.
        last: when the last answer arrived, by the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hear answers on this event loop."""
        self.routing_key = ""
        self.replies: deque[tuple[float, float, Reply]] = deque()
        self.accepted = False
        self.nobody = False
        self.error: ConnectionLostError | ConfigurationError | None = None
        self.last = loop.time()
        self._loop = loop
        self._ids: set[str] = set()
        self._changed = asyncio.Event()

    def replied(self, reply: Reply, /) -> bool:
        """Called for each reply; returns whether it counts."""
        worker_id = (reply.headers or {}).get(WORKER_ID)
        if not isinstance(worker_id, str) or worker_id in self._ids or len(self._ids) >= _WORKERS_MAX:
            return False
        self._ids.add(worker_id)
        self.last = self._loop.time()
        self.replies.append((self.last, time.time(), reply))
        self._changed.set()
        return True

    def confirmed(self) -> None:
        """Called when the broker has passed it on."""
        self.accepted = True
        self._changed.set()

    def refused(self, refusal: Refusal, /) -> None:
        """Called when no worker could get it, or when one of several could not."""
        self.accepted = True
        self.nobody = issubclass(refusal, NoRouteError)
        self._changed.set()

    def lost(self, error: ConnectionLostError | ConfigurationError, /) -> None:
        """Called when no more answers can arrive."""
        self.error = self.error or error
        self._changed.set()

    async def changed(self, seconds: float) -> None:
        """Wait until something was heard, or the time is over."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._changed.wait()
        except TimeoutError:
            pass
        finally:
            self._changed.clear()


class ControlAsker:
    """Asks the workers, for one client."""

    def __init__(self, client: ControlSender) -> None:
        """Ask over the connection of ``client``."""
        self._client = client
        self._codec = control_codec()
        self._known: frozenset[str] = frozenset()
        """The ids of the workers that have answered the last question that went to all."""

    async def ask(
        self,
        question: ControlQuestion,
        timeout: float | timedelta | None,
        *,
        look: Callable[[Caller, list[TimedAnswer]], Awaitable[bool]] | None = None,
        enough: Callable[[list[TimedAnswer]], bool] | None = None,
    ) -> tuple[list[TimedAnswer], float]:
        """Send a control request and return the answers, and how long they were waited for.

        It ends after ``timeout``; or before, once a worker has answered, nothing more was heard for a quarter of a
        second, and every worker that is known to be there has answered. A request to one worker ends with its answer.

        Args:
            question: what is asked.
            timeout: how long to wait for answers, in seconds; ``None``: :data:`DEFAULT_TIMEOUT`.
            look: called when all that have been heard of have answered, and again if others may have come meanwhile;
                returns whether it knows of no others. It may be called several times.
            enough: tells whether further answers would change nothing; ``None``: all are wanted.

        Raises:
            CallTimeoutError: nothing could be sent within the timeout.
            ConnectionLostError: the client is not connected, or the connection was lost.
            ConfigurationError: the broker refuses what this client sends.
        """
        loop = asyncio.get_running_loop()
        seconds = DEFAULT_TIMEOUT if timeout is None else seconds_of(timeout)
        began = loop.time()
        ends_at = began + seconds
        caller = await self._caller(seconds)
        calls = self._client.calls
        correlation_id = calls.free_id(next(calls.ids))
        body, content_type, content_encoding = encode_question(self._codec, question)
        request = Request(control_key(), correlation_id, body, content_type, content_encoding, None)
        heard, answers = Heard(loop), list[TimedAnswer]()
        calls.broadcasts[correlation_id] = heard
        try:
            sent_at, delay = loop.time(), _FIRST_RESEND
            caller.broadcast(request._replace(timeout=max(0.001, ends_at - sent_at)))
            resend_at = sent_at + delay
            while True:
                await self._read(heard, answers, sent_at)
                if heard.error is not None:
                    raise heard.error
                now = loop.time()
                if now >= ends_at or (question.worker and answers) or (enough is not None and enough(answers)):
                    break
                quiet_at = heard.last + max(_QUIET, heard.last - sent_at)  # who is slow once is slow for all
                missing = bool(question.worker) or not self._known <= {one.answer.id for one in answers}
                missing = missing or not (answers or heard.nobody)
                if heard.accepted and not missing and now >= quiet_at:
                    if look is None or await look(caller, answers):
                        await self._read(heard, answers, sent_at)
                        break
                    missing = True
                if now >= resend_at and not caller.paused:
                    caller.broadcast(request._replace(timeout=max(0.001, ends_at - now)))
                    delay = min(_MAX_RESEND, 2 * delay)
                    resend_at = now + delay
                await heard.changed(min(ends_at, resend_at, quiet_at if not missing else resend_at) - now)
        finally:
            del calls.broadcasts[correlation_id]
        if not heard.accepted:
            raise call_timeout_error(
                "workers", correlation_id, seconds, caller.why_paused, sent=True, awaited="confirm of the broker"
            )
        if not question.worker:
            self._known = frozenset(one.answer.id for one in answers)
        return answers, loop.time() - began

    async def _caller(self, seconds: float) -> Caller:
        caller = self._client.connected()
        if caller.paused:
            await self._client.admitted("workers", seconds, seconds)
            caller = self._client.connected()
        return caller

    async def _read(self, heard: Heard, answers: list[TimedAnswer], sent_at: float) -> None:
        while heard.replies:
            arrived, wall, reply = heard.replies.popleft()
            try:
                try:
                    answer = decode_answer(self._codec, reply)
                except LargeBodyError:
                    answer = await off_loop(decode_answer, self._codec, reply)
            except UnreadableControlError as error:
                _log.debug(
                    "an answer of a worker cannot be read: %s", error,
                    extra=log_fields("control.answer_unreadable", error=error),
                )  # fmt: skip
                continue
            taken = arrived - sent_at
            answers.append(TimedAnswer(answer, taken, answer.time - (wall - taken / 2) if answer.time else 0.0))
