"""The rule: a call whose time is over does not run, whatever held it up, and nobody blames the clocks for it.

``tests/unit/test_time.py`` states the whole rule, with a clock that the test moves; here, real parts are held.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import aiormq
import pytest

from rabibridge import CallTimeoutError, RMQClient, RMQServer
from rabibridge_testing._servers.private import PrivateNode
from tests.support.proxy import Proxy
from tests.support.waiting import PATIENCE, soon, until

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = 100


class Elsewhere:
    """A worker with an event loop of its own, in a thread, that counts what it runs."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ran: list[int] = []
        self.held, self.release = threading.Event(), threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        async def work(number: int) -> int:
            self.ran.append(number)
            return number

        async def hold() -> None:
            self.held.set()
            self.release.wait(PATIENCE)  # it blocks the loop: that is what the test is about

        self.loop = asyncio.get_running_loop()
        self.server = RMQServer(url=self.url)
        for func in (work, hold):
            self.server.add_service(func)
        async with self.server:
            serving = asyncio.create_task(self.server.run_serve(signals=False))
            while not self.server.health():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
            self._ready.set()
            await serving

    def __enter__(self) -> Elsewhere:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.loop.call_soon_threadsafe(self.server.stop)
        self._thread.join(PATIENCE)


@pytest.fixture
def worker(vhost_url: str) -> Iterator[Elsewhere]:
    with Elsewhere(vhost_url) as worker:
        yield worker


async def _all_time_out(client: RMQClient, timeout: float, **options: Any) -> None:
    calls = (client.remote_call("work", (number,), timeout=timeout, **options) for number in range(CALLS))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {CallTimeoutError}


async def _works(client: RMQClient) -> None:
    assert await soon(client.remote_call("work", (-1,), timeout=PATIENCE)) == -1


async def test_the_loop_of_the_worker_is_held(worker: Elsewhere, caplog: pytest.LogCaptureFixture) -> None:
    async with RMQClient(url=worker.url) as known, RMQClient(url=worker.url) as new:
        await _works(known)
        holding = asyncio.create_task(known.remote_call("hold", timeout=PATIENCE))
        await asyncio.to_thread(worker.held.wait, PATIENCE)
        await asyncio.gather(_all_time_out(known, 0.3), _all_time_out(new, 0.3, persistent=True))
        await asyncio.sleep(1.5)
        worker.release.set()
        await soon(holding)
        await _works(new)
        await _works(known)
    assert set(worker.ran) == {-1}
    assert "clock" not in caplog.text


@pytest.mark.parametrize("known", [True, False], ids=["known caller", "new caller"])
async def test_the_link_of_the_caller_stands_still(
    worker: Elsewhere, known: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with Proxy(worker.url) as proxy, RMQClient(url=proxy.url) as client:
        if known:
            await _works(client)
        proxy.freeze(down=False)
        await _all_time_out(client, 0.3)
        await asyncio.sleep(0.5)
        proxy.thaw()
        await _works(client)
    assert set(worker.ran) == {-1}
    assert "clock" not in caplog.text


async def test_the_broker_stands_still(caplog: pytest.LogCaptureFixture) -> None:
    node = PrivateNode()
    await asyncio.to_thread(node.start)
    try:
        with Elsewhere(node.url) as worker:
            async with RMQClient(url=node.url) as client:
                await _works(client)
                assert node._node is not None
                os.killpg(node._node.pid, signal.SIGSTOP)
                try:
                    await _all_time_out(client, 0.5)
                    await asyncio.sleep(2.0)
                finally:
                    os.killpg(node._node.pid, signal.SIGCONT)
                await _works(client)
                await until(lambda: client.pending == 0)
            assert set(worker.ran) == {-1}
    finally:
        await asyncio.to_thread(node.stop)
    assert "clock" not in caplog.text


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_a_caller_whose_clock_is_wrong_by_minutes(worker: Elsewhere, minutes: int) -> None:
    connection = await aiormq.connect(worker.url)
    channel = await connection.channel()
    replies = await channel.queue_declare(exclusive=True)
    answered: asyncio.Queue[bytes] = asyncio.Queue()

    async def on_reply(message: Any) -> None:
        answered.put_nowait(message.body)

    await channel.basic_consume(replies.queue or "", on_reply, no_ack=True)
    for number in range(10):
        properties = aiormq.spec.Basic.Properties(
            content_type="application/json",
            reply_to=replies.queue,
            correlation_id=str(number),
            expiration="5000",
            headers={"rb-timeout": 5000, "rb-deadline": int((time.time() - 60 * minutes + 5) * 1000)},
        )
        await channel.basic_publish(
            b"[[%d], {}]" % number, exchange="rpc", routing_key="async_work", properties=properties
        )
        assert await soon(answered.get()) == b"[0,%d]" % number
    await connection.close()
