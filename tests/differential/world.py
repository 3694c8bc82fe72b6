"""One broker with clients and workers, as a differential test drives it: what is done, and what can be observed."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rabibridge import RMQClient, RMQServer, current_call
from rabibridge_core._server.active_request import probe_callers
from rabibridge_core.errors import RabiBridgeError
from rabibridge_core.transport import ConnectionState
from tests.differential.texts import fields_of, text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["Limits", "World"]


@dataclass(frozen=True)
class Limits:
    """The limits of the service, the same on all workers."""

    queue_size: int | None
    fetch_size: int
    delivery: Any
    idempotent: bool
    queue_type: Any


@dataclass
class Run:
    """One run of a function: which service and which call it is of, and what ends it."""

    service: str
    call: int
    redelivered: bool
    end: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Worker:
    """A server that runs in the background; its functions wait until the test lets them go on."""

    def __init__(self, world: World, number: int, limits: Limits) -> None:
        self.world, self.number = world, number
        self.server = RMQServer(**world.connection(f"worker {number}"), name=f"worker {number}")
        self.runs: list[Run] = []
        self.serving: asyncio.Task[None] | None = None
        self.draining: asyncio.Task[None] | None = None

        async def work(call: int) -> Any:
            if await self._run("work", call) == "fail":
                raise ValueError(f"call {call} fails")
            return [call, "done"]

        async def feed(call: int) -> AsyncIterator[Any]:
            yield [call, "begun"]
            if await self._run("feed", call) == "fail":
                raise ValueError(f"call {call} fails")
            yield [call, "done"]

        async def tell(call: int) -> Any:
            world.started.append(call)
            return [call, number]

        same: dict[str, Any] = {"queue_type": limits.queue_type}
        self.server.add_service(
            work, limits.queue_size, limits.fetch_size, name=world.service, delivery=limits.delivery,
            idempotent=limits.idempotent, **same,
        )  # fmt: skip
        self.server.add_service(feed, limits.queue_size, limits.fetch_size, name=f"{world.service}_feed", **same)
        self.server.add_service(tell, name=f"{world.service}_tell", **same)

    async def _run(self, service: str, call: int) -> str:
        run = Run(service, call, current_call().redelivered)
        self.runs.append(run)
        self.world.started.append(call)
        try:
            return await run.end
        finally:
            self.runs.remove(run)

    async def start(self) -> None:
        await self.server.connect()
        self.serving = asyncio.create_task(self.server.run_serve(signals=False))
        await self.server.wait_serving()

    async def stop(self) -> None:
        self.server.stop()
        self.server.stop()  # what runs goes back to the queue at once
        await self._end()

    def drain(self) -> None:
        self.server.stop()
        self.draining = asyncio.create_task(self._end())

    async def _end(self) -> None:
        if self.serving is not None:
            await asyncio.gather(self.serving, return_exceptions=True)
        await self.server.close()


class World:
    """A broker, and who uses it."""

    def __init__(self, service: str, transport: Callable[[str], dict[str, Any]], limits: Limits) -> None:
        """Use the connection arguments that ``transport`` returns for each client or server of a name."""
        self.service, self.limits = service, limits
        self.items: dict[int, list[Any]] = {}
        self.connection = transport
        self.clients: dict[int, RMQClient] = {}
        self.workers: dict[int, Worker] = {}
        self.calls: dict[int, asyncio.Future[Any]] = {}
        self.started: list[int] = []
        self.said: list[str] = []

    async def client(self, number: int) -> RMQClient:
        """Return a client, connected at its first use."""
        if number not in self.clients:
            self.clients[number] = await RMQClient(
                **self.connection(f"client {number}"), name=f"client {number}"
            ).connect()
        return self.clients[number]

    async def call(self, number: int, client: int, options: dict[str, Any]) -> None:
        """Begin a call; it goes on in the background."""
        options = {name: value for name, value in options.items() if value is not None}
        if "idempotency_key" in options:
            options["idempotency_key"] = f"{self.service}:{options['idempotency_key']}"
        calls = (await self.client(client)).options(**{"timeout": 600, **options})
        self.calls[number] = asyncio.ensure_future(calls.call(self.service, number))

    async def notify(self, number: int, client: int) -> None:
        """Send a notification, and keep what came of it."""
        calls = (await self.client(client)).options(timeout=600)
        self.calls[number] = asyncio.ensure_future(calls.notify(self.service, number))

    async def stream(self, number: int, client: int) -> None:
        """Begin a stream; what comes of it is kept."""
        calls = (await self.client(client)).options(timeout=600)
        items = self.items[number] = []

        async def read() -> list[Any]:
            async for item in calls.stream(f"{self.service}_feed", number):
                items.append(item)
            return items

        self.calls[number] = asyncio.ensure_future(read())

    async def broadcast(self, number: int, client: int) -> None:
        """Ask all workers."""
        calls = (await self.client(client)).options(timeout=60)

        async def ask() -> Any:
            told = calls.broadcast(f"{self.service}_tell", number)
            answers = sorted([(reply.worker, reply.result) async for reply in told])
            return [answers, told.complete, told.missing, told.silent]

        self.calls[number] = asyncio.ensure_future(ask())

    async def begin_worker(self, number: int, limits: Limits) -> None:
        """Start a worker; what it is refused with is kept."""
        worker = Worker(self, number, limits)
        try:
            await worker.start()
        except RabiBridgeError as error:
            self.said.append(text_of(error, self.service))
            await worker.stop()
        else:
            self.workers[number] = worker

    async def end_worker(self, number: int) -> None:
        """Stop a worker, which gives back what it runs."""
        await self.workers.pop(number).stop()

    def drain_worker(self, number: int) -> None:
        """Let a worker end what it runs, and take no more."""
        self.workers[number].drain()

    def reap(self) -> None:
        """Forget workers that have ended all that they ran."""
        for number, worker in list(self.workers.items()):
            if worker.draining is not None and worker.draining.done():
                worker.draining.result()
                del self.workers[number]

    def release(self, call: int, end: str) -> None:
        """Let all runs of a call go on."""
        for worker in self.workers.values():
            for run in worker.runs:
                if run.call == call and not run.end.done():
                    run.end.set_result(end)

    def cancel(self, call: int) -> None:
        """Cancel a call."""
        self.calls[call].cancel()

    @property
    def running(self) -> list[int]:
        """The calls that run now."""
        return sorted(run.call for worker in self.workers.values() for run in worker.runs if not run.end.done())

    def _running(self) -> dict[int, Any]:
        """Return how often each call runs now; if there is one worker only, with whether it was delivered before."""
        runs = [run for worker in self.workers.values() for run in worker.runs]
        return {
            call: [run.redelivered if len(self.workers) < 2 else None for run in runs if run.call == call]
            for call in sorted({run.call for run in runs})
        }

    def view(self) -> dict[str, dict[Any, Any]]:
        """Return all that a client or a server can observe now."""
        health = {
            **{f"client {number}": client.health() for number, client in self.clients.items()},
            **{f"worker {number}": worker.server.health() for number, worker in self.workers.items()},
        }
        return {
            "calls": {number: self._outcome(call) for number, call in self.calls.items()},
            "items": self.items,
            "runs": Counter(self.started),
            "running": self._running(),
            "held": {"all workers": sum(one.server._server.active_requests for one in self.workers.values())},
            "health": {name: (one.ok, one.state) for name, one in health.items()},
            "said": dict(enumerate(self.said)),
        }

    def _outcome(self, call: asyncio.Future[Any]) -> Any:
        if not call.done():
            return "pending"
        if call.cancelled():
            return "cancelled"
        error = call.exception()
        if error is None:
            return call.result()
        text = text_of(error, self.service).splitlines()[0]
        return type(error).__name__, text, fields_of(error, self.service)

    async def close(self) -> None:
        """End everything."""
        for number in list(self.workers):
            await self.end_worker(number)
        for call in self.calls.values():
            call.cancel()
        for client in self.clients.values():
            await client.close()
        await asyncio.gather(*self.calls.values(), return_exceptions=True)

    def look_for_callers(self, number: int) -> None:
        """Let a worker look now whether the callers of what it runs are gone, not after some seconds."""
        worker = self.workers.get(number)
        for runner in [] if worker is None else list(worker.server._server.services.all_runners()):
            for active in runner.all_active():
                active.probe_due = True
            probe_callers(runner.all_active())

    def sent_again(self, client: str) -> int:
        """Return how many calls are being sent again, or would be if the connection of this client were lost now."""
        return sum(
            call.lost is not None
            or (
                f"client {number}" == client
                and call.resends
                and one._client.calls.idempotency.for_resending(call.request) is not None
            )
            for number, one in self.clients.items()
            for call in one._client.calls.pending.values()
            if not call.future.done()
        )

    def ready(self, *, confirmed: bool, full: bool, away: str) -> bool:
        """Whether all are connected, and nothing is under way by itself.

        Args:
            confirmed: the broker has confirmed what it has accepted.
            full: the queue of the service is full, so that what waits to be sent again goes on to wait.
            away: who is kept from connecting.
        """
        tables = [client._client.calls for client in self.clients.values()]
        if not full and any(table.refusals.waits(call) for table in tables for call in table.pending.values()):
            return False
        if confirmed and any(
            client.state is ConnectionState.READY and client._client.connected().unconfirmed
            for client in self.clients.values()
        ):
            return False  # what a lost connection says of a call depends on it
        everybody = {
            **{f"client {number}": client.state for number, client in self.clients.items()},
            **{f"worker {number}": worker.server.state for number, worker in self.workers.items()},
        }
        return all((state is ConnectionState.READY) is (name != away) for name, state in everybody.items())
