"""What the tests of a client's broadcasts share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.broadcasting import Broadcaster
from rabibridge_core._client.options import CallOptions
from rabibridge_core.transport import Reply
from tests.support.waiting import until
from tests.unit.client_support import CODEC, PATIENCE

if TYPE_CHECKING:
    from rabibridge_core._client.broadcast import Broadcast, BroadcastReply
    from rabibridge_core._client.client import Client
    from rabibridge_core.transport import Request
    from tests.unit.scripted_transport import ScriptedTransport


def begin_broadcast(client: Client, *args: Any, adapt: Any = None, **options: Any) -> Broadcast[Any]:
    chosen = CallOptions("async", PATIENCE)._replace(**options)
    return Broadcaster(client.preparation).broadcast("add", args, {}, chosen, adapt)


class Asking:
    """A broadcast under way, and the workers, which the test plays."""

    def __init__(self, client: Client, transport: ScriptedTransport, workers: int | None, **options: Any) -> None:
        self.transport = transport
        self.replies: list[BroadcastReply[Any]] = []
        self.broadcast = begin_broadcast(client, **options)
        self._client = client
        self.workers(workers)
        self.task = asyncio.ensure_future(self._iterate())

    def workers(self, count: int | None) -> None:
        self.transport.queue_state = None if count is None else (count, 0)

    async def _iterate(self) -> None:
        async for reply in self.broadcast:
            self.replies.append(reply)

    async def sent(self, count: int = 1) -> bytes:
        await until(lambda: len(self.transport.broadcasts) >= count)
        return self.transport.broadcasts[-1].correlation_id

    async def confirmed(self) -> Asking:
        await self.sent()
        self.confirm()
        return self

    def confirm(self) -> None:
        self._client.calls.confirmed(self.transport.broadcasts[-1].correlation_id)

    def received(self, *workers: str) -> None:
        for worker in workers:
            self._reply(worker, Reply(b"", None, None), {"rb-received": True})

    def answer(self, worker: str, result: Any = None) -> None:
        self._reply(worker, Reply(*CODEC.encode([0, result], b"")), {})

    def _reply(self, worker: str, reply: Reply, headers: dict[str, Any]) -> None:
        own = {"rb-worker": f"name of {worker}", "rb-worker-id": worker, **headers}
        correlation_id = self.transport.broadcasts[-1].correlation_id
        self._client.calls.replied(correlation_id, reply._replace(headers=own))


def answer_at_once(asking: Asking) -> None:
    """Let the broker confirm each broadcast, and one worker answer it, in the next turn of the loop."""

    def confirm_and_answer() -> None:
        asking.confirm()
        asking.answer("a")

    def sending(request: Request) -> None:
        asyncio.get_running_loop().call_soon(confirm_and_answer)

    asking.transport.sending = sending
