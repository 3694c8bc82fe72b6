"""What the fake broker tells about the functions that a test has added: as the worker of a server would tell it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from rabibridge import ConfigurationError, QueueFullError, RegistrationError, RemoteExecutionError, RMQClient, RMQServer
from rabibridge.sync import Client
from rabibridge_core import register_call
from rabibridge_core.introspection.calls import CallCounts
from tests.support.waiting import until

if TYPE_CHECKING:
    from rabibridge_core.introspection import ServiceOnWorker
    from rabibridge_testing import FakeBroker

pytestmark = pytest.mark.usefixtures("clean_place")


@register_call(queue_size=10, fetch_size=3)
async def half(number: int) -> float:
    """Return half of it."""
    if number < 0:
        raise ValueError("negative")
    return number / 2


def double(number: int) -> int:
    return 2 * number


async def _own(client: RMQClient) -> dict[str, ServiceOnWorker]:
    (worker,) = await client.workers(timeout=60)
    return {service.name: service for service in worker.services}


async def test_it_answers_as_one_worker(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(half)
    async with RMQClient() as client:
        (pong,) = await client.ping(timeout=60)
        (worker,) = await client.workers(timeout=60)
        assert [pong.worker, worker.name] == ["fake_broker"] * 2
        assert (worker.ready, worker.draining, worker.connection, worker.pid) == (True, False, "ready", os.getpid())
        assert (await client.ping(worker.id, timeout=60))[0].id == worker.id
        assert await client.ping("another", timeout=0.05) == ()


async def test_calls_are_counted_and_failures_are_kept(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(half)
    fake_broker.add_service(double)
    async with RMQClient() as client:
        assert await client.remote_call("half", (3,)) == 1.5
        assert await client.remote_call("double", (3,), ftype="sync") == 6
        with pytest.raises(RemoteExecutionError):
            await client.remote_call("half", (-1,))
        with pytest.raises(RemoteExecutionError):
            await client.remote_call("half")
        services = await _own(client)
        assert services["half"].counts == CallCounts(succeeded=1, failed=1, refused=1)
        assert {(one.kind, one.message) for one in services["half"].failures} >= {("failed", "negative")}
        assert services["double"].counts == CallCounts(succeeded=1)
        assert (services["half"].kind, services["half"].concurrency, services["half"].live) == ("async", 3, True)
        assert services["double"].kind == "sync"


async def test_services_are_described(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(half)
    fake_broker.add_service(double, classes={"interactive": 5, "batch": None})
    async with RMQClient() as client:
        services = await client.services(timeout=60)
    half_found, double_found = services.get("half"), services.get("double")
    assert half_found is not None
    assert double_found is not None
    assert (half_found.signature, half_found.doc) == ("(number: int) -> float", "Return half of it.")
    assert (half_found.limits["queue_size"], half_found.limits["fetch_size"]) == (10, 3)
    assert (half_found.workers, half_found.consumers, half_found.silent) == (("fake_broker",), 1, 0)
    assert [(queue.class_name, queue.size) for queue in double_found.queues] == [("interactive", 5), ("batch", None)]
    assert services.complete


async def test_functions_added_later_and_after_a_lost_connection(fake_broker: FakeBroker) -> None:
    async with RMQClient() as client:
        assert len(await client.workers(timeout=0.05)) == 0
        fake_broker.add_service(half)
        await client.remote_call("half", (1,))
        fake_broker.lose_connection()
        await client.remote_call("half", (1,))
        fake_broker.add_service(double)
        await client.remote_call("double", (1,), ftype="sync")
        services = await _own(client)
        assert services.keys() == {"half", "double"}
        assert services["half"].counts == CallCounts(succeeded=2)


async def test_it_answers_beside_a_server_of_the_test(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(half)
    server = RMQServer(name="mine")
    server.add_service(double)
    async with server.serving(), RMQClient() as client:
        assert sorted(worker.name for worker in await client.workers(timeout=60)) == ["fake_broker", "mine"]
        found = {service.name: service.workers for service in await client.services(timeout=60)}
    assert found == {"half": ("fake_broker",), "double": ("mine",)}


async def test_what_is_not_for_the_asker_is_not_told(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(half)
    fake_broker.add_service(double, allow=("gateway",))
    async with RMQClient(url="amqp://somebody:x@fake/") as client:
        assert (await _own(client)).keys() == {"half"}
    async with RMQClient(url="amqp://gateway:x@fake/") as client:
        assert (await _own(client)).keys() == {"half", "double"}


async def test_it_keeps_silent_where_control_is_off(fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONTROL", "false")
    fake_broker.add_service(half)
    async with RMQClient() as client:
        assert await client.remote_call("half", (1,)) == 0.5
        assert len(await client.workers(timeout=0.05)) == 0
        (service,) = await client.services("half", timeout=0.05)
        assert service.silent == 1  # as with a server: it is there, and does not answer


def test_synchronous_clients_ask_it(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(half)
    with Client() as client:
        assert client.call("half", 3) == 1.5
        (worker,) = client.workers(timeout=60)
        assert worker.services[0].counts == CallCounts(succeeded=1)
        assert [service.name for service in client.services(timeout=60)] == ["half"]


async def test_calls_in_hand_are_shown(fake_broker: FakeBroker) -> None:
    release = asyncio.Event()

    async def waits() -> None:
        await release.wait()

    fake_broker.add_service(waits, queue_size=1, fetch_size=1)
    async with RMQClient() as client:
        calls = [asyncio.ensure_future(client.remote_call("waits")) for _ in range(3)]
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert [isinstance(call.exception(), QueueFullError) for call in done] == [True]
        found = await client.services("waits", timeout=60)
        assert (found[0].in_hand, found[0].waiting) == (1, 1)
        release.set()
        await asyncio.gather(*set(calls) - done)
        await until(lambda: not fake_broker.queues["rpc_async_waits"].unsettled)


@pytest.mark.parametrize("setting", ["run_timeout", "remote_traceback"])
async def test_settings_that_limit_services_apply(
    fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    fake_broker.add_service(half)
    fake_broker.add_service(hangs)
    monkeypatch.setenv(f"RABIBRIDGE_{setting.upper()}", {"run_timeout": "0.1", "remote_traceback": "none"}[setting])
    async with RMQClient() as client:
        with pytest.raises(RemoteExecutionError) as failed:
            await (client.remote_call("hangs") if setting == "run_timeout" else client.remote_call("half", (-1,)))
        assert ("run_timeout" if setting == "run_timeout" else "does not tell") in str(failed.value)


def test_annotations_that_cannot_be_checked_are_refused_at_once(fake_broker: FakeBroker) -> None:
    async def odd(value: "NoSuchName") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    with pytest.raises((RegistrationError, ConfigurationError), match="NoSuchName"):
        fake_broker.add_service(odd, validate=True)
