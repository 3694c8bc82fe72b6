"""A rig: workers, clients and load on a virtual host of their own, a fault, and the check of everything after it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self

from typing_extensions import TypeVar

from rabibridge import RMQClient
from tests.chaos.broker import ChaosBroker
from tests.chaos.ledger import ECHO, ONCE, SAFE, THREAD, WORK, Ledger
from tests.chaos.load import CALLERS, Load
from tests.chaos.runs import read_runs
from tests.support.processes import Processes
from tests.support.proxy import TASK_NAME, Proxy
from tests.support.waiting import PATIENCE, soon, until, until_true

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from tests.chaos.broker import Census
    from tests.chaos.ledger import Plan
    from tests.chaos.runs import Run
    from tests.support.processes import Process

__all__ = ["MIX", "Rig"]

MIX = (ECHO, WORK, WORK, SAFE, ONCE, THREAD)
"""What the load consists of where a test does not care."""
_LOOK = 0.1
"""How long to wait before the next look at what the broker does not tell, in seconds."""
_LAZY_TASKS = 2
"""Tasks that a worker has more, once it has opened the channel for what it puts aside."""


class _Kept(logging.Handler):
    """Keeps what is logged here, as text."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class FaultyBroker(Protocol):
    """What a rig uses of the broker.

    Attributes:
        password: the password of the user, which must not be in any log.
        settling: how long it may take to be as it was before, in seconds.
    """

    password: str
    settling: float

    async def vhost(self) -> str:
        """Return a virtual host that nobody has used."""
        ...

    def url(self, vhost: str, heartbeat: int | None = None) -> str:
        """Return its URL."""
        ...

    async def census(
        self, vhost: str, *, left: int = 0, connections: int = 0, channels: int = 0, seconds: float = 0.0
    ) -> Census:
        """Count what there is, once so much waits and nothing else is under way, or after so many seconds."""
        ...


BrokerT = TypeVar("BrokerT", bound=FaultyBroker, default=ChaosBroker)


class Rig(Generic[BrokerT]):
    """Everything that one row of the fault matrix needs; use it as a context manager.

    Attributes:
        vhost: the virtual host.
        url: its URL.
        ledger: every call that was made.
        workers: the worker processes that are to run.
        clients: the clients in this process.
        logged: what was logged in this process.
    """

    def __init__(self, chaos_broker: BrokerT, folder: Path, *, heartbeat: int | None = None) -> None:
        self.chaos_broker = chaos_broker
        self.ledger = Ledger()
        self.workers: list[Process] = []
        self.vhost = ""
        self.url = ""
        self._heartbeat = heartbeat
        self._folder = folder
        self.clients: list[RMQClient] = []
        self._loads: list[Load] = []
        self._kept = _Kept()
        self._stack = AsyncExitStack()
        self._processes: Processes
        self._before: Census | None = None
        self._clients_before = 0
        self._tasks_before = 0
        self._worker_tasks = 0

    async def __aenter__(self) -> Self:
        self.vhost = await self.chaos_broker.vhost()
        self.url = self.chaos_broker.url(self.vhost, self._heartbeat)
        self._processes = await self._stack.enter_async_context(Processes(self._folder))
        logging.getLogger().addHandler(self._kept)
        self._stack.callback(logging.getLogger().removeHandler, self._kept)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        async with asyncio.timeout(2 * PATIENCE):
            await self._stack.aclose()

    @property
    def logged(self) -> list[str]:
        return self._kept.lines

    async def network(self, url: str | None = None) -> Proxy:
        """Return a network to the broker that can be broken."""
        return await self._stack.enter_async_context(Proxy(url or self.url))

    async def launch(
        self, program: str = "worker", *, url: str | None = None, services: str = "", **environment: str
    ) -> Process:
        """Start a process that need not get to work; it does not count among the workers."""
        services = services or "echo,work,once,safe,thread"
        common = {"RABIBRIDGE_URL": url or self.url, "CHAOS_RUNS": str(self.runs_path), "CHAOS_SERVICES": services}
        return await self._processes.start(f"tests.chaos.{program}", common | environment)

    async def worker(self, **options: str) -> Process:
        """Start a worker process and wait until it serves; options as for `launch`."""
        worker = await self.launch(**options)
        self.workers.append(await worker.ready())
        return worker

    async def two_workers(self, **options: str) -> tuple[Process, Process]:
        first, second = await asyncio.gather(self.worker(**options), self.worker(**options))
        return first, second

    async def client(self, url: str | None = None, *, patience: float = PATIENCE, **options: Any) -> RMQClient:
        """Return a client in this process, connected within so many seconds."""
        client = RMQClient(**options) if "settings" in options else RMQClient(url=url or self.url, **options)
        self._stack.push_async_callback(client.close)
        self.clients.append(client)
        async with asyncio.timeout(patience):
            await client.connect()
        return client

    def forget(self, client: RMQClient) -> None:
        """Leave a client that is closed out of the count of what is to be there after."""
        assert client.pending == 0
        self.clients.remove(client)

    async def load(self, client: RMQClient, *plans: Plan, callers: int = CALLERS, busy: float = 5 / 6) -> Load:
        """Put load on the services, and return when it flows; what there is before is what is to be there after."""
        if self._before is None:
            await self.note_baseline(client, *plans)
        load = Load(self.ledger, client, plans or MIX, callers, busy)
        self._loads.append(load)
        await load.flows()
        return load

    async def note_baseline(self, client: RMQClient, *plans: Plan) -> None:
        """Make one call of each plan, so that what is made when first needed is there, and count what there is."""
        for plan in set(plans or MIX):
            entry = await soon(self.ledger.call(client, plan))
            assert entry.ok, entry
        await until_true(self._every_service_is_served)
        self._before = await self.chaos_broker.census(self.vhost)
        self._clients_before = len(self.clients)
        states = [await worker.state() for worker in self.workers]
        self._worker_tasks = max((state["tasks"] for state in states), default=0)
        self._tasks_before = len(_tasks())

    async def _every_service_is_served(self) -> bool:
        return all([(await worker.state())["ok"] for worker in self.workers])

    @property
    def runs_path(self) -> Path:
        return self._folder / "runs"

    def runs(self) -> dict[int, list[Run]]:
        """Return what ran so far."""
        return read_runs(self.runs_path)

    async def end_load(self) -> None:
        await asyncio.gather(*(load.end() for load in self._loads))
        self._loads.clear()

    async def check(
        self,
        *,
        errors: Mapping[Plan, tuple[type[BaseException], ...]] | None = None,
        runs_twice: bool = True,
        left: int = 0,
        spare_channels: int | None = None,
    ) -> None:
        """End the load and check every promise: the calls first, then that everything is as it was before.

        Args:
            errors: which errors calls of a plan may end with.
            runs_twice: whether a call that is delivered at least once may have run more than once.
            left: how many messages are to lie in queues, such as that for dead letters.
            spare_channels: how many channels more than before there may be; one for each worker if left out, which it
                opens when first needed.
        """
        await self.end_load()
        broken = await self.left_behind(left=left, spare_channels=spare_channels)
        self.ledger.check(self.runs(), errors=errors, runs_twice=runs_twice)
        assert not broken, broken
        await self.check_processes()

    async def left_behind(self, *, left: int = 0, spare_channels: int | None = None) -> str:
        """Wait until the broker is as it was before; return what is not."""
        before = self._before
        assert before is not None, "there was no load"
        more = len(self.clients) - self._clients_before  # each has a connection, a queue for replies and its consumer
        channels = before.channels + more + (len(self.workers) if spare_channels is None else spare_channels)
        wanted = (before.connections + more, before.consumers + more, before.exclusive + more, left, 0)
        give_up = time.monotonic() + self.chaos_broker.settling
        while True:
            seconds = max(0.0, give_up - time.monotonic())
            now = await self.chaos_broker.census(
                self.vhost, left=left, connections=wanted[0], channels=channels, seconds=seconds
            )
            held, waiting = sum(now.unsettled.values()), sum(now.waiting.values())
            if (now.connections, now.consumers, now.exclusive, waiting, held) == wanted and now.channels <= channels:
                return ""
            if not seconds:
                break
            await asyncio.sleep(_LOOK)  # nothing tells when the consumers and queues of others are gone
        states = [await worker.state() for worker in self.workers]
        return f"before: {before}\nnow: {now}\nworkers: {states}"

    async def check_processes(self) -> None:
        """Check that nothing is under way in any process, and that the logs hold no secret."""
        assert [client.pending for client in self.clients] == [0] * len(self.clients)
        await asyncio.gather(*(self._idle(worker) for worker in self.workers))
        await self._no_tasks_left()
        self.check_logs()

    async def forget_calls(self) -> None:
        """Begin a new page of the ledger, where one rig goes through many faults; nothing may be under way."""
        self.ledger.entries.clear()
        self._kept.lines.clear()
        await self._processes.forget()
        os.truncate(self.runs_path, 0)

    async def _idle(self, worker: Process) -> None:
        async def look() -> bool:
            state = await worker.state()
            return bool(state["ok"] and state["tasks"] <= self._worker_tasks + _LAZY_TASKS)

        try:
            await until_true(look)
        except TimeoutError:
            raise AssertionError(f"{await worker.state()}, before: {self._worker_tasks} tasks") from None

    async def _no_tasks_left(self) -> None:
        gc.collect()
        try:
            await until(lambda: len(_tasks()) <= self._tasks_before)
        except TimeoutError:
            tasks = "\n".join(map(repr, _tasks()))
            raise AssertionError(f"{self._tasks_before} tasks before, and now:\n{tasks}") from None

    def check_logs(self) -> None:
        """Check that no log holds the password, nor what was in a call."""
        text = "\n".join(self.logged) + self._processes.logs()
        assert self.chaos_broker.password not in text
        assert "Task exception was never retrieved" not in text
        leaked = [entry for entry in self.ledger.entries.values() if entry.nonce in text]
        assert not leaked, f"the log tells what was in a call: {leaked[0]}"


def _tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() != TASK_NAME]
