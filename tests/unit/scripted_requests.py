"""Requests without a broker, for tests of the serving side: the test acts as transport and as callers."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from rabibridge_core._codec.codec import Codec
from rabibridge_core._server.service import ServiceRunner
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.plugins.manager import PluginManager
from tests.support.waiting import longer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.transport import Headers, Reply

CODEC = Codec()
PATIENCE = 90.0
_NO_HEADERS: Headers = {}


class ScriptedRequest:
    """An incoming request that records how it is settled."""

    def __init__(
        self,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        correlation_id: bytes = b"1",
        caller: bytes = b"caller",
        user: str = "",
        time_left: float | None = None,
        headers: Headers = _NO_HEADERS,
        redelivered: bool = False,
        deliveries: int = 0,
        persistent: bool = False,
        wants_reply: bool = True,
        codec: Codec = CODEC,
    ) -> None:
        body, content_type, encoding = codec.encode([args, kwargs or {}], correlation_id)
        self.body = body
        self.content_type: str | None = content_type
        self.content_encoding = encoding
        self.caller = caller
        self.user = user
        self.correlation_id = correlation_id
        self.time_left = time_left
        self.deadline: float | None = None
        self.headers = headers
        self.redelivered = redelivered
        self.deliveries = deliveries
        self.persistent = persistent
        self.wants_reply = wants_reply
        self.reply_address = caller
        self.void = False
        self.events: list[str] = []
        """What was done with the request, in order: accepted, replied, discarded, requeued, rejected, dead, probed."""
        self.replies: list[Reply] = []
        self.parts: list[Reply] = []
        self.address = ""
        self.reason = ""
        self._codec = codec

    @property
    def settled(self) -> bool:
        return any(event not in ("accepted", "probed") for event in self.events)

    @property
    def answer(self) -> Any:
        """The decoded body of the only reply."""
        (reply,) = self.replies
        context = b"reply " + self.correlation_id
        return self._codec.decode(reply.body, reply.content_type, reply.content_encoding, context)

    @property
    def error(self) -> dict[str, Any]:
        """The headers of the only reply, which is an error reply."""
        assert self.answer[0] == 1
        return dict(self.replies[0].headers or {})

    def reply(self, reply: Reply, /) -> None:
        self._settle("replied")
        self.replies.append(reply)

    def reply_part(self, reply: Reply, /) -> asyncio.Future[None] | None:
        if not (self.void or self.settled):
            self.parts.append(reply)
        return None

    def accept(self) -> None:
        assert not self.settled, self.events
        self.events.append("accepted")

    def discard(self) -> None:
        self._settle("discarded")

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        self._settle("dead")
        self.reason = reason
        if reply is not None:
            self.replies.append(reply)

    def probe(self) -> None:
        self.events.append("probed")

    def reject(self, *, requeue: bool) -> None:
        self._settle("requeued" if requeue else "rejected")

    def _settle(self, event: str) -> None:
        assert not self.settled, (self.events, event)
        self.events.append(event)


def keyed(args: tuple[Any, ...] = (), *, key: Any = "key", cid: bytes = b"1", **options: Any) -> ScriptedRequest:
    """Return a request with an idempotency key."""
    return ScriptedRequest(args, correlation_id=cid, headers={"rb-key": key}, **options)


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_service(
    func: Callable[..., Any],
    *,
    clock: Callable[[], float] | None = None,
    codec: Codec = CODEC,
    plugin: object = None,
    **options: Any,
) -> ServiceRunner:
    """Return a service without a transport: it gets requests only by :meth:`ServiceRunner.received`."""
    plugins = PluginManager()
    if plugin is not None:
        plugins.register(plugin)
    return ServiceRunner(
        ServiceSchema.of(func, ServiceLimits(**options)), codec, CallHooks(plugins), clock=clock or Clock()
    )


async def until(condition: Callable[[], object]) -> None:
    """Wait until ``condition()`` is true. It is checked in each iteration of the event loop, later every 2 ms."""
    async with asyncio.timeout(PATIENCE):
        turn = 0
        while not condition():
            turn += 1
            await asyncio.sleep(0 if turn < 100 else 0.002)


async def outlasting(
    service: ServiceRunner, began: Callable[[], object], least: float, **options: Any
) -> ScriptedRequest:
    """Return a request whose time ends while it runs: it gets more of it until that is enough to begin."""
    times_left = longer(least)
    while True:
        time_left = next(times_left)
        request = ScriptedRequest(time_left=time_left, **options)
        service.received(request)
        await until(lambda request=request: began() or request.events)  # type: ignore[misc]
        if began():
            break
    return request


async def turns(number: int = 10) -> None:
    """Run iterations of the event loop: enough for everything to happen that depends on tasks only."""
    for _ in range(number):
        await asyncio.sleep(0)


class Work:
    """A handler that records its calls, and blocks until :attr:`release` is set."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.cancelled: list[Any] = []
        self.finished: list[Any] = []
        self.release = asyncio.Event()

    async def work(self, what: Any = None) -> Any:
        self.started.append(what)
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.append(what)
            raise
        self.finished.append(what)
        return f"done {what}"


class ThreadWork:
    """The same as a sync handler, which runs in a thread."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.finished: list[Any] = []
        self.release = threading.Event()

    def work(self, what: Any = None) -> Any:
        self.started.append(what)
        self.release.wait(PATIENCE)
        self.finished.append(what)
        return f"done {what}"
