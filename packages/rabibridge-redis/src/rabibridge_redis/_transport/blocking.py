"""Requests that the server did not accept because its memory is full or its disk cannot be written."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import hiredis

from rabibridge_core._concurrency.backoff import Backoff
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConnectionLostError
from rabibridge_redis._resp.refusals import is_blocked

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from rabibridge_core.transport import Request
    from rabibridge_redis._session.session import Session
    from rabibridge_redis._transport.caller import RedisCaller

__all__ = ["BlockedRequests", "accepts_something"]

_log = get_logger(__name__)


class BlockedRequests:
    """Holds them, and sends them again once the server accepts something.

    Redis does not tell when that is: it is tried after 50 ms, and then at longer intervals of up to a second.

    Attributes:
        why: what the server says; empty while it accepts requests.
    """

    def __init__(self, name: str) -> None:
        """Hold nothing. ``name`` is used in the log."""
        self._name = name
        self.why = ""
        self._since = self._before = 0.0
        self._clock: Callable[[], float] = time.monotonic  # the loop's, which may be asked in any thread
        self._held: list[tuple[RedisCaller, Request, bool, float | None]] = []
        self._over = asyncio.Event()
        self._over.set()

    def hold(self, caller: RedisCaller, request: Request, wants_reply: bool, why: str) -> bool:
        """Hold a request; return whether it is the first one."""
        loop = asyncio.get_running_loop()
        expires = None if request.timeout is None else loop.time() + request.timeout
        self._held.append((caller, request, wants_reply, expires))
        is_first = not self.why
        if is_first:
            self._since, self._clock = loop.time(), loop.time
        self.why = why
        self._over.clear()
        if is_first:
            _log.warning("%s: %s", self._name, why, extra=log_fields("connection.blocked", instance=self._name))
        return is_first

    async def try_again(self, accepts: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        """Send what is held as soon as ``accepts()`` tells that the server accepts it."""
        backoff = Backoff(0.05, 1.0)
        while self.why:
            await asyncio.sleep(backoff.next())  # nothing tells when it does
            if self.why and await accepts():
                now = asyncio.get_running_loop().time()
                held, self._held = self._held, []
                self.end()
                for caller, request, wants_reply, expires in held:
                    if expires is None or expires > now:
                        caller.publish_again(request, wants_reply)

    @property
    def seconds(self) -> float:
        """For how many seconds the server has accepted nothing, in all."""
        return self._before + (self._clock() - self._since if self.why else 0.0)

    def end(self) -> None:
        """Hold nothing any more: the server accepts requests, or the connection is lost."""
        self._held.clear()
        if self.why:
            self._before = self.seconds
        self.why = ""
        self._over.set()

    async def over(self) -> None:
        """Wait until the server accepts requests, or the connection is lost."""
        await self._over.wait()


async def accepts_something(session: Session | None) -> bool:
    """Find out whether the server accepts something new, by writing a key that lives for a second."""
    try:
        if session is not None:
            await session.commands.ask("SET", f"{session.prefix}probe", "1", "PX", "1000")
    except hiredis.ReplyError as error:
        return not is_blocked(error)
    except ConnectionLostError:
        return False
    return True
