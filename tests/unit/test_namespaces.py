"""The setting, the argument, and namespaces in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rabibridge import ConfigurationError, NoRouteError, RMQClient, RMQServer
from rabibridge_core._protocol.naming import service_of_queue, split_namespace
from rabibridge_core.plugins.resolver import override_transport
from rabibridge_core.settings import Settings, load_settings
from rabibridge_testing import MemoryBroker
from tests.support.waiting import PATIENCE, soon

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker


@pytest.mark.parametrize("name", ["billing", "b", "B-1_x", "n" * 32])
def test_what_can_be_a_namespace(name: str) -> None:
    assert Settings(namespace=name).namespace == name
    assert split_namespace(f"{name}:rpc_async_a.b:c") == (name, "rpc_async_a.b:c")
    assert service_of_queue(f"{name}:rpc_async_a.b:c") == "a.b"


@pytest.mark.parametrize("name", ["a.b", "a:b", "rpc", "rpc_async_x", "amq", "n" * 33, "ä", "a b", "a\n", 1])
def test_what_cannot_be_one(name: object) -> None:
    with pytest.raises(ConfigurationError, match="namespace"):
        Settings(namespace=name)  # type: ignore[arg-type]


def test_none_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_NAMESPACE", "billing")
    url = "memory://namespaces"
    assert load_settings(url=url).namespace == "billing"
    assert load_settings(url=url, namespace="none").namespace == ""


def test_a_class_is_no_namespace() -> None:
    assert split_namespace("rpc_async_add:rpc_batch") == ("", "rpc_async_add:rpc_batch")
    assert service_of_queue("rpc_async_add:rpc_batch") == "add"


def test_it_is_not_ignored_beside_what_has_its_own() -> None:
    with pytest.raises(ConfigurationError, match="namespace="):
        RMQClient(namespace="billing", transport=MemoryBroker().transport())
    with pytest.raises(ConfigurationError, match="namespace="):
        RMQClient(namespace="billing", settings=load_settings(url="amqp://guest:guest@localhost"))


def test_a_transport_without_namespaces_is_refused() -> None:
    broker = MemoryBroker()
    with (
        override_transport(lambda settings, name: broker.transport(name)),
        pytest.raises(ConfigurationError, match="not in the namespace 'billing'"),
    ):
        RMQServer(url="amqp://guest:guest@localhost", namespace="billing")


async def test_in_memory(fake_broker: FakeBroker) -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    async def add_more(a: int, b: int) -> int:
        return a + b + 1

    fake_broker.namespace = "billing"
    fake_broker.add_service(add)
    server = RMQServer(url="amqp://guest:guest@localhost")
    server.add_service(add_more, name="add")
    async with (
        server.serving(),
        RMQClient(namespace="billing") as billing,
        RMQClient() as plain,
        RMQClient(namespace="payroll") as payroll,
    ):
        assert await soon(billing.remote_call("add", (1, 2), timeout=PATIENCE)) == 3
        assert await soon(billing.remote_call("add", (1, 2), ftype="any", timeout=PATIENCE)) == 3
        assert await soon(plain.remote_call("add", (1, 2), timeout=PATIENCE)) == 4
        with pytest.raises(NoRouteError):
            await soon(payroll.remote_call("add", (1, 2), timeout=PATIENCE))
        assert [service.name for service in await soon(plain.services(timeout=PATIENCE))] == ["add"]
        assert await soon(payroll.ping(timeout=0.5)) == ()
    assert {name for name in fake_broker.queues if "add" in name} == {"billing:rpc_async_add", "rpc_async_add"}
    assert [(call.service, call.kind) for call in fake_broker.calls] == [
        ("add", "async"),
        ("add", "any"),
        ("add", "async"),
        ("add", "async"),
    ]
