"""Answers control requests: what clients ask a worker about itself, beside all of its services.

They take no place of a call, so that a handler may ask its own worker; they never run code of a service; and they cost
the worker little, however many arrive: one is answered in a turn of the event loop, what was just told is told again,
and more than :data:`WAITING_MAX` at a time are dropped, as if they had been lost.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from rabibridge_core._concurrency.background import TaskSet
from rabibridge_core._concurrency.daemon_threads import DaemonThreadPool, joined
from rabibridge_core._protocol.control import (
    ControlQuestion,
    UnreadableControlError,
    control_codec,
    control_key,
    decode_question,
    encode_answer,
    worker_headers,
)
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import RabiBridgeError
from rabibridge_core.transport import ControlReceiver

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.transport import ControlRequest, Reply, Transport

__all__ = ["WAITING_MAX", "ControlResponder", "ControlSource", "answer_control"]

_log = get_logger(__name__)
WAITING_MAX = 1024
"""How many control requests wait for their answer; more are dropped."""
_LOG_INTERVAL = 60.0
_SHARE = 20.0
"""What was told is told again for this many times as long as it took to collect: a twentieth of the time at most."""
_AGE_MIN = 0.02
_NOTHING: frozenset[str] = frozenset()
_KEPT = 256


class ControlSource(Protocol):
    """What a worker tells about itself, as values of JSON."""

    @property
    def restricted(self) -> bool:
        """Whether it has services that not everybody may know of."""
        ...

    async def hidden_from(self, user: str) -> frozenset[str]:
        """Return the services that a user may not call, and so is to hear nothing of."""
        ...

    def pong(self) -> dict[str, Any]:
        """Return what tells that it is there."""
        ...

    def status(self, service: str, hidden: frozenset[str]) -> dict[str, Any]:
        """Return its numbers; of the service of that name alone, unless it is empty."""
        ...

    def descriptions(self, service: str, hidden: frozenset[str]) -> Callable[[], list[dict[str, Any]]]:
        """Return what tells what its services are; it may take long, and is called in a thread."""
        ...

    def calls(self, service: str, hidden: frozenset[str]) -> Callable[[], dict[str, Any]]:
        """Return what tells which calls it runs now; it may have to wait for others, and is called in a thread."""
        ...

    def places(self, question: ControlQuestion, hidden: frozenset[str]) -> dict[str, Any]:
        """Return whether calls hold all places of a service, at this moment."""
        ...


class ControlResponder:
    """Answers the control requests that one worker receives."""

    def __init__(self, name: str, source: ControlSource) -> None:
        """Answer in the name of this worker; must be made on the running event loop.

        Args:
            name: the name of the worker.
            source: what it tells.
        """
        self.id = secrets.token_urlsafe(9)
        """Tells it apart from other workers, and from itself before a restart."""
        self._name = name
        self._source = source
        self._codec = control_codec()
        self._threads = DaemonThreadPool(1, "rabibridge-describing")
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[ControlRequest] = deque()
        self._tasks = TaskSet()
        self._told: dict[tuple[frozenset[str], ControlQuestion], tuple[float, Reply]] = {}
        self._limited = LimitedLog(_log, _LOG_INTERVAL)

    def received(self, request: ControlRequest, /) -> None:
        """Called for each control request."""
        if len(self._waiting) >= WAITING_MAX:
            self._log("dropped", "more than %d control requests wait; the others are dropped", WAITING_MAX)
            return
        self._waiting.append(request)
        if len(self._waiting) == 1:
            self._loop.call_soon(self._answer_next)

    def close(self) -> None:
        """Answer no more."""
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        self._threads.close(drop_waiting=True)

    def _answer_next(self) -> None:
        """Answer one, so that calls have their turn before the next one."""
        if not self._waiting:
            return
        request = self._waiting[0]
        try:
            self._answer(request)
        except Exception as error:  # noqa: BLE001 - whatever is asked must not harm the worker
            self._log("failed", "a control request is not answered: %s: %s", type(error).__name__, error)
        finally:
            self._waiting.popleft()
            if self._waiting:
                self._loop.call_soon(self._answer_next)

    def _answer(self, request: ControlRequest) -> None:
        try:
            question = decode_question(self._codec, request)
        except UnreadableControlError as error:
            self._refuse(request, str(error))
            return
        if question.worker not in ("", self._name, self.id):
            return
        if (refusal := self._refusal(request, question)) is not None:
            self._refuse(request, refusal)
            return
        question = question._replace(worker="")
        if question.what == "ping":
            self._send(request, encode_answer(self._codec, self._source.pong()))
        elif not self._source.restricted:
            self._answer_to(request, question, _NOTHING)
        elif len(self._tasks) < WAITING_MAX:
            self._tasks.spawn(self._answer_restricted(request, question))
        else:
            self._log("dropped", "more than %d control requests wait for a policy; the others are dropped", WAITING_MAX)

    async def _answer_restricted(self, request: ControlRequest, question: ControlQuestion) -> None:
        self._answer_to(request, question, await self._source.hidden_from(request.user))

    def _answer_to(self, request: ControlRequest, question: ControlQuestion, hidden: frozenset[str]) -> None:
        """Answer somebody who is to hear nothing of the services in ``hidden``; all such askers are told the same."""
        if question.what == "places":  # a place that is free again must count at once
            self._send(request, encode_answer(self._codec, {"id": self.id, **self._source.places(question, hidden)}))
            return
        told = self._told.get((hidden, question))
        if told is not None and told[0] > self._loop.time():
            self._send(request, told[1])
        elif question.what == "status":
            self._tell(request, hidden, question, self._loop.time(), {"worker": self._status(hidden, question)})
        elif question.what == "calls":
            self._tasks.spawn(self._tell_calls(request, hidden, question))
        else:
            self._tasks.spawn(self._describe(request, hidden, question))

    def _refusal(self, request: ControlRequest, question: ControlQuestion) -> str | None:
        """Decide whether a control request is admitted; return why not.

        This is the only place where that is decided, for each request and each question: a worker that wants
        signatures, or lists who may ask, checks it here.
        """
        return None

    def _refuse(self, request: ControlRequest, why: str) -> None:
        self._log("refused", "a control request is refused: %s", why)
        self._send(request, encode_answer(self._codec, {}, refused=why))

    def _status(self, hidden: frozenset[str], question: ControlQuestion) -> dict[str, Any]:
        return {"id": self.id, **self._source.status(question.service, hidden)}

    def _tell(
        self,
        request: ControlRequest,
        hidden: frozenset[str],
        question: ControlQuestion,
        began: float,
        value: dict[str, Any],
    ) -> None:
        reply = encode_answer(self._codec, value)
        now = self._loop.time()
        if len(self._told) >= _KEPT:
            self._told.clear()
        self._told[hidden, question] = (now + max(_AGE_MIN, _SHARE * (now - began)), reply)
        self._send(request, reply)

    def _send(self, request: ControlRequest, reply: Reply) -> None:
        request.reply(reply._replace(headers=worker_headers(self._name, self.id, time.time())))

    async def _tell_calls(self, request: ControlRequest, hidden: frozenset[str], question: ControlQuestion) -> None:
        began = self._loop.time()
        try:
            complete = self._source.calls(question.service, hidden)
            value = await joined(self._threads.submit(complete))
            self._tell(request, hidden, question, began, {"id": self.id, **value})
        except Exception as error:  # noqa: BLE001 - whatever is asked must not harm the worker
            self._log("failed", "what runs cannot be told: %s: %s", type(error).__name__, error)
            self._refuse(request, f"what runs cannot be told: {type(error).__name__}")

    async def _describe(self, request: ControlRequest, hidden: frozenset[str], question: ControlQuestion) -> None:
        try:
            describe = self._source.descriptions(question.service, hidden)
            descriptions = await joined(self._threads.submit(describe))
            began = self._loop.time()
            value = {"worker": self._status(hidden, question), "services": descriptions}
            self._tell(request, hidden, question, began, value)
        except RabiBridgeError as error:
            self._refuse(request, str(error))
        except Exception as error:  # noqa: BLE001 - a class of the user may raise anything while it is described
            self._log("failed", "the services cannot be described: %s: %s", type(error).__name__, error)
            self._refuse(request, f"its services cannot be described: {type(error).__name__}")

    def _log(self, event: str, text: str, *arguments: object) -> None:
        self._limited.log(
            f"{self._name}: {text}", logging.WARNING, f"%s: {text}", self._name, *arguments,
            extra=log_fields(f"control.{event}", instance=self._name),
        )  # fmt: skip


async def answer_control(name: str, source: ControlSource, transport: Transport) -> ControlResponder | None:
    """Answer the control requests of a worker; return ``None`` if its transport cannot receive any.

    Raises:
        ConnectionLostError: there is no connection.
    """
    if not isinstance(transport, ControlReceiver):
        return None
    responder = ControlResponder(name, source)
    await transport.receive_control(control_key(), responder.received)
    return responder
