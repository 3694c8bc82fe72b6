"""The broker, or what stands between, misbehaves: every pending call ends, the process lives, the client comes back."""

from __future__ import annotations

import asyncio
import random
import struct
from typing import TYPE_CHECKING, Any

import aiormq
import pytest

from rabibridge import CallTimeoutError, ConnectionLostError, NoRouteError, RMQClient
from rabibridge_core.transport import ConnectionState
from tests.rabbitmq.support import Gate, Stage
from tests.support.proxy import Proxy
from tests.support.services import grown, new_echo
from tests.support.waiting import counted_time, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def proxy(stage: Stage) -> AsyncIterator[Proxy]:
    async with Proxy(stage.url, whole_frames=True) as proxy:
        yield proxy


class _Setting:
    """A service with an echo and one that holds its calls, and a client that reaches them through the proxy."""

    def __init__(self, client: RMQClient, echo_name: str, gate: Gate, gate_name: str) -> None:
        self.client = client
        self.echo_name = echo_name
        self.gate = gate
        self.gate_name = gate_name

    async def echo(self, value: Any, **options: Any) -> Any:
        return await soon(self.client.remote_call(self.echo_name, (value,), **options))

    async def pending_calls(self, count: int) -> list[asyncio.Task[Any]]:
        """Make calls that are under way, in a handler."""
        calls = [asyncio.create_task(self.client.remote_call(self.gate_name, (n,))) for n in range(count)]
        await self.gate.holds(count)
        return calls

    async def works(self) -> None:
        """See that calls, small and large, are answered; wait for the connection as long as it takes."""
        for value in ("x", b"y" * 300_000, list(range(100))):
            assert await self.echo(value) == value


@pytest.fixture
async def setting(stage: Stage, proxy: Proxy) -> AsyncIterator[_Setting]:
    gate = Gate()
    function = gate.function()
    gate_name = stage.register(function, fetch_size=100)
    own_echo = new_echo()
    echo_name = stage.register(own_echo, fetch_size=100)
    await stage.server(function, own_echo)
    client = await stage.client(url=proxy.url)
    yield _Setting(client, echo_name, gate, gate_name)
    gate.opened.set()


async def _all_lost(calls: list[asyncio.Task[Any]]) -> None:
    for result in await soon(asyncio.gather(*calls, return_exceptions=True)):
        assert type(result) is ConnectionLostError
        assert result.executed is None


def _raw(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(random.Random(1).randbytes(1000), id="random bytes"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="another protocol"),
        pytest.param(_raw(1, 1, b"\x00\x3c\x00\x3c", b"\x00"), id="a wrong end of a frame"),
        pytest.param(_raw(7, 0, b"x"), id="an unknown frame type"),
        pytest.param(struct.pack(">BHI", 3, 1, 2**31), id="a frame of two gigabytes"),
        pytest.param(_raw(1, 1, b"\x00\x3c\x00\x3c\xff"), id="a deliver that is cut off"),
        pytest.param(b"".join(_raw(3, channel, b"body") for channel in range(1, 5)), id="a body out of nowhere"),
        pytest.param(_raw(1, 0, b"\xff\xff\xff\xff"), id="an unknown method for aiormq"),
        pytest.param(_raw(1, 0, b"\x00\x0a\x00\x0b"), id="a method without its arguments for aiormq"),
        pytest.param(_raw(2, 0, b""), id="an empty content header for aiormq"),
    ],
)
async def test_garbage_in_the_middle_of_calls(setting: _Setting, proxy: Proxy, garbage: bytes) -> None:
    calls = await setting.pending_calls(5)
    proxy.link.inject(garbage)
    await _all_lost(calls)
    await setting.works()
    assert len(proxy.links) == 2
    assert setting.client.pending == 0


@pytest.mark.parametrize(
    "unexpected",
    [
        pytest.param(_raw(1, 77, b"\x00\x14\x00\x29"), id="close-ok of an unknown channel"),
        pytest.param(_raw(1, 1, b"\x00\x3c\x00\x50" + bytes(7) + b"\xff\x00"), id="an ack of what was never sent"),
        pytest.param(b"\x08\0\0\0\0\0\0\xce" * 50, id="a crowd of heartbeats"),
    ],
)
async def test_what_is_odd_but_harmless_disturbs_nothing(setting: _Setting, proxy: Proxy, unexpected: bytes) -> None:
    calls = await setting.pending_calls(3)
    proxy.link.inject(unexpected)
    await setting.works()
    setting.gate.opened.set()
    assert await soon(asyncio.gather(*calls)) == [0, 1, 2]
    assert len(proxy.links) == 1


async def test_one_byte_at_a_time(setting: _Setting, proxy: Proxy) -> None:
    proxy.slice_size = 1
    values = [b"x" * size for size in (0, 1, 100, 1000)]
    assert await soon(asyncio.gather(*(setting.echo(value) for value in values))) == values
    proxy.slice_size = 1000
    assert await setting.echo(list(range(50_000))) == list(range(50_000))
    assert len(proxy.links) == 1


async def test_a_connection_made_one_byte_at_a_time(stage: Stage, setting: _Setting, proxy: Proxy) -> None:
    proxy.slice_size = 1
    client = await stage.client(url=proxy.url)
    assert await soon(client.remote_call(setting.echo_name, (1,))) == 1


@pytest.mark.parametrize("size", [3, 7, 12, 40])
async def test_a_message_that_breaks_off_and_then_the_end(setting: _Setting, proxy: Proxy, size: int) -> None:
    calls = await setting.pending_calls(5)
    deliver = _raw(1, 1, b"\x00\x3c\x00\x3c" + b"\x04ctag" + bytes(8) + b"\x00\x00\x07amq.gen") + _raw(2, 1, bytes(14))
    proxy.link.end(deliver[:size])
    await _all_lost(calls)
    await setting.works()
    assert len(proxy.links) == 2


async def test_a_reset_connection(setting: _Setting, proxy: Proxy) -> None:
    for number in range(3):
        calls = await setting.pending_calls(5)
        proxy.link.cut()
        await _all_lost(calls)
        await setting.works()
        assert len(proxy.links) == 2 + number


async def test_the_broker_refuses_for_a_while(setting: _Setting, proxy: Proxy) -> None:
    proxy.refusing = True
    proxy.link.cut()
    await until(lambda: setting.client.state is ConnectionState.LOST)
    with pytest.raises(CallTimeoutError) as failure:
        await setting.echo(1, timeout=0.3)
    assert failure.value.executed is False
    waiting = asyncio.create_task(setting.echo("patient"))
    await asyncio.sleep(0)
    proxy.refusing = False
    assert await soon(waiting) == "patient"


async def test_the_connection_goes_again_and_again_while_it_is_set_up(setting: _Setting, proxy: Proxy) -> None:
    accepted = len(proxy.links)
    proxy.link.cut()
    for _ in range(6):
        accepted = await grown(proxy.links, accepted)
        for _ in range(random.Random(accepted).randrange(30)):
            await asyncio.sleep(0)
        proxy.link.cut()
    await grown(proxy.links, accepted)  # the last cut was noticed
    await setting.works()


async def test_a_frozen_connection_is_noticed_in_about_two_heartbeats(
    stage: Stage, setting: _Setting, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABIBRIDGE_HEARTBEAT", "1")
    setting.client = await stage.client(url=proxy.url)
    calls = await setting.pending_calls(5)
    started = asyncio.get_running_loop().time()
    async with counted_time() as counted:
        proxy.freeze()
        await _all_lost(calls)
    assert asyncio.get_running_loop().time() - started > 1
    assert counted() < 10  # 2 to 2.5
    assert "silent" in str(calls[0].exception())
    proxy.thaw()
    await setting.works()


async def test_a_connection_that_is_busy_or_idle_is_not_taken_for_frozen(
    stage: Stage, setting: _Setting, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABIBRIDGE_HEARTBEAT", "1")
    loop = asyncio.get_running_loop()

    async def busy_and_idle(client: RMQClient) -> None:
        end = loop.time() + 7.5  # beyond the patience of aiormq, which sees none of this
        while loop.time() < end:
            await soon(client.remote_call(setting.echo_name, (1,)))
            await asyncio.sleep(0.01)
        await asyncio.sleep(3)
        await soon(client.remote_call(setting.echo_name, (1,)))

    while True:
        client, links, started = await stage.client(url=proxy.url), len(proxy.links), loop.time()
        async with counted_time() as counted:
            (failure,) = await asyncio.gather(busy_and_idle(client), return_exceptions=True)
        if failure is None and len(proxy.links) == links:
            break
        assert loop.time() - started - counted() > 1, failure  # else the machine stood still, and the broker gave up


async def test_closing_a_frozen_client_ends(setting: _Setting, proxy: Proxy) -> None:
    calls = await setting.pending_calls(2)
    proxy.freeze()
    await soon(setting.client.close())
    await _all_lost(calls)


async def test_a_server_whose_connection_is_cut_serves_again(stage: Stage, proxy: Proxy) -> None:
    function = new_echo()
    name = stage.register(function)
    await stage.server(function, url=proxy.url)
    client = await stage.client()
    assert await soon(client.remote_call(name, (1,))) == 1
    for kill in (proxy.link.cut, lambda: proxy.link.inject(b"\xff" * 100), lambda: proxy.link.end(b"\x01\x00")):
        known = len(proxy.links)
        kill()
        assert await soon(client.remote_call(name, (2,))) == 2
        await grown(proxy.links, known)


# Storms that have killed aiormq's own publishing.


async def test_a_storm_of_cancelled_calls_to_nobody(stage: Stage, setting: _Setting, proxy: Proxy) -> None:
    async def call(number: int) -> None:
        timeout = 0.002 * (number % 3) or None
        with pytest.raises((NoRouteError, CallTimeoutError)):
            await setting.client.remote_call("nobody_there", (number,), timeout=timeout)

    generator = random.Random(3)
    for _ in range(30):
        tasks = [asyncio.create_task(call(number)) for number in range(40)]
        for _ in range(generator.randrange(6)):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        for result in await soon(asyncio.gather(*tasks, return_exceptions=True)):
            assert result is None or isinstance(result, asyncio.CancelledError)
    await setting.works()
    assert len(proxy.links) == 1
    assert setting.client.pending == 0


async def test_a_channel_error_under_many_calls_at_once(stage: Stage, setting: _Setting, proxy: Proxy) -> None:
    """The exchange is deleted: the broker closes the channel at the next publish. The next set-up declares it anew."""
    bystander = await stage.client()
    async with await aiormq.connect(stage.url) as connection:
        channel = await connection.channel()
        for _ in range(3):
            held = asyncio.create_task(bystander.remote_call(setting.gate_name, ("held",)))
            await setting.gate.holds(1)
            await channel.exchange_delete("rpc")
            results = await soon(
                asyncio.gather(
                    *(setting.client.remote_call(setting.echo_name, (n,)) for n in range(400)), return_exceptions=True
                )
            )
            assert all(
                result == number or isinstance(result, ConnectionLostError | NoRouteError)
                for number, result in enumerate(results)
            )
            assert any(isinstance(result, ConnectionLostError) for result in results)
            await soon(setting.client.connect())
            queue = f"rpc_async_{setting.echo_name}"
            await until(lambda: setting.client.state is ConnectionState.READY)
            await soon(channel.queue_bind(queue, "rpc", f"async_{setting.echo_name}"))
            await soon(channel.queue_bind(f"rpc_async_{setting.gate_name}", "rpc", f"async_{setting.gate_name}"))
            await setting.works()
            assert not held.done()
            setting.gate.opened.set()
            assert await soon(held) == "held"
            setting.gate.opened.clear()
    assert setting.client.pending == 0
