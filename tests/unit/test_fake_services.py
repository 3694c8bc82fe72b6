"""Functions that a test adds to the fake broker, without a server of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from rabibridge import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    InvalidArgumentsError,
    QueueFullError,
    RegistrationError,
    RMQClient,
    register_call,
)
from rabibridge_core.transport import ServiceQueue
from tests.unit.fake_support import add

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker

pytestmark = pytest.mark.usefixtures("clean_place")


async def test_the_limits_of_a_function_without_a_server(fake_broker: FakeBroker) -> None:
    release = asyncio.Event()
    started = asyncio.Event()

    async def slow() -> str:
        started.set()
        await release.wait()
        return "done"

    fake_broker.add_service(slow, queue_size=1, fetch_size=1)
    async with RMQClient() as client:
        first = asyncio.create_task(client.remote_call("slow"))
        await started.wait()
        second, third = (asyncio.create_task(client.remote_call("slow")) for _ in range(2))
        with pytest.raises(QueueFullError):
            await third
        release.set()
        assert await first == await second == "done"


async def test_sync_functions_and_validation(fake_broker: FakeBroker) -> None:
    def where(_: int) -> int:
        return threading.get_ident()

    fake_broker.add_service(where, validate=True)
    async with RMQClient() as client:
        assert await client.remote_call("where", ("7",), ftype="sync") != threading.get_ident()
        with pytest.raises(InvalidArgumentsError):
            await client.remote_call("where", ("seven",), ftype="sync")


async def test_functions_added_while_connected(fake_broker: FakeBroker) -> None:
    async with RMQClient() as client:
        fake_broker.add_service(add)
        assert await client.remote_call("add", (1, 2)) == 3

        async def later() -> str:
            return "later"

        fake_broker.add_service(later)
        assert await client.remote_call("later") == "later"


@pytest.mark.parametrize("how", ["lost", "refused"])
async def test_functions_added_while_there_is_no_connection(fake_broker: FakeBroker, how: str) -> None:
    async def before() -> None: ...

    async with RMQClient() as client:
        if how == "lost":
            fake_broker.add_service(before)
            await client.remote_call("before")
            fake_broker.lose_connection(restore=False)
        else:
            fake_broker.refuse_connections()
        fake_broker.add_service(add)
        call = asyncio.create_task(client.remote_call("add", (1, 2)))
        await asyncio.sleep(0.01)  # let it go wrong
        assert not call.done()
        fake_broker.restore()
        assert await call == 3


async def test_a_decorated_function_keeps_its_limits(fake_broker: FakeBroker) -> None:
    @register_call(queue_size=7, timeout=5, validate=True)
    async def limited(number: int) -> int:
        return number

    schema = fake_broker.add_service(limited, queue_size=8)
    assert (schema.queue_size, schema.timeout, schema.validate) == (8, 5, True)
    async with RMQClient() as client:
        with pytest.raises(InvalidArgumentsError):
            await client.remote_call("limited", ("x",))


async def test_limits_are_those_of_a_server(fake_broker: FakeBroker) -> None:
    fake_broker.declare(ServiceQueue("rpc_async_add", ("async_add", "add"), queue_size=1, fetch_size=1))
    with pytest.raises(ConfigurationError, match="re_register"):
        fake_broker.add_service(add)
    schema = fake_broker.add_service(add, fetch_size=4, re_register=True, queue_type="quorum", fetch_ahead=2)
    assert (schema.queue_type, schema.fetch_ahead) == ("quorum", 2)
    assert fake_broker.queues["rpc_async_add"].spec == schema.queue
    async with RMQClient() as client:
        assert await client.remote_call("add", (1, 2)) == 3


async def test_a_name_is_taken_once(fake_broker: FakeBroker) -> None:
    added = fake_broker.add_service(add)
    assert fake_broker.add_service(add) == added

    async def other(left: int, right: int) -> int:
        return left - right

    with pytest.raises(RegistrationError, match="already serves 'add', by add"):
        fake_broker.add_service(other, name="add")


async def test_calls_left_in_flight_end_with_the_last_client(fake_broker: FakeBroker) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    fake_broker.add_service(hang)
    async with RMQClient() as client:
        call = asyncio.create_task(client.remote_call("hang"))
        await started.wait()
    with pytest.raises(ConnectionLostError):
        await call
    assert stopped.is_set()
    started.clear()
    async with RMQClient() as client:
        assert not fake_broker.queues["rpc_async_hang"].unsettled


async def test_a_thread_that_does_not_end_holds_nothing_up(fake_broker: FakeBroker) -> None:
    release = threading.Event()
    fake_broker.add_service(release.wait)
    try:
        async with RMQClient() as client:
            with pytest.raises(CallTimeoutError):
                await client.remote_call("wait", (60,), ftype="sync", timeout=0.05)
            started = time.monotonic()
        assert time.monotonic() - started < 30
    finally:
        release.set()
