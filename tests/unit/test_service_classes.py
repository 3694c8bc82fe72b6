"""``@service``: which services a class is, and what is refused."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pytest

from rabibridge_core import RegistrationError, register_call, service
from rabibridge_core._services.interface import declared_interface, interface_of
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.offers import schemas_of
from rabibridge_core.rpc import RpcServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@service
class Math:
    unit = "none"
    table: dict[str, int] = {}  # noqa: RUF012

    def __init__(self, start: int = 0) -> None:
        self.start = start

    async def add(self, number: int) -> int:
        return self.start + number

    def halve(self, number: int) -> float:
        return number / 2

    @classmethod
    async def made(cls, start: int) -> int:
        return cls(start).start

    @staticmethod
    def doubled(number: int) -> int:
        return 2 * number

    @functools.cache  # noqa: B019
    def cached(self, number: int) -> int:
        return number

    @property
    def size(self) -> int:
        raise AssertionError("nobody asked for it")

    async def _private(self) -> None: ...

    class Inner:
        def method(self) -> None: ...


@service(name="shop.orders", version=2, queue_size=100, fetch_size=5)
class Orders:
    async def place(self, item: str) -> str:
        return item

    @register_call(queue_size=7, name="undo")
    def cancel(self, order: int) -> int:
        return order


def names(offered: Any, **given: Any) -> list[tuple[str, bool]]:
    name = given.pop("name", None)
    return sorted((each.name, each.is_async) for each in schemas_of(offered, ServiceLimits(**given), name))


def test_the_public_methods_are_services() -> None:
    assert names(Math()) == [
        ("Math.add", True),
        ("Math.cached", False),
        ("Math.doubled", False),
        ("Math.halve", False),
        ("Math.made", True),
    ]


def test_names_versions_and_limits() -> None:
    place, undo = schemas_of(Orders(), ServiceLimits())
    assert (place.name, place.queue_size, place.fetch_size) == ("shop.orders.v2.place", 100, 5)
    assert (undo.name, undo.queue_size, undo.fetch_size) == ("shop.orders.v2.undo", 7, 5)
    place, undo = schemas_of(Orders(), ServiceLimits(queue_size=1), "other")
    assert (place.name, place.queue_size) == ("other.v2.place", 1)
    assert (undo.name, undo.queue_size) == ("other.v2.undo", 1)


def test_a_method_of_a_service_object_is_the_same_service() -> None:
    orders = Orders()
    assert schemas_of(orders.cancel, ServiceLimits())[0] == schemas_of(orders, ServiceLimits())[1]
    (made,) = schemas_of(Math.made, ServiceLimits())
    assert made.name == "Math.made"
    (named,) = schemas_of(Math().add, ServiceLimits(), "plus")
    assert named.name == "plus"


def test_a_subclass_is_served_under_the_name_of_the_decorated_class() -> None:
    class Better(Math):
        async def add(self, number: int) -> int:
            return self.start - number

        async def secret(self) -> None: ...

    assert names(Better()) == names(Math())
    assert names(Better().add) == [("Math.add", True)]

    @service
    class Decorated(Math):
        async def more(self) -> None: ...

    assert [name for name, _ in names(Decorated())] == [
        "Decorated.add", "Decorated.cached", "Decorated.doubled", "Decorated.halve", "Decorated.made", "Decorated.more",
    ]  # fmt: skip


def test_methods_of_a_framework_are_not_served() -> None:
    class Framework:
        def run(self) -> None: ...

        def overridden(self) -> None: ...

        @register_call
        def marked(self) -> None: ...

    @service
    class Mine(Framework):
        def overridden(self) -> None: ...

    assert [name for name, _ in names(Mine())] == ["Mine.marked", "Mine.overridden"]


def test_protocols_and_abstract_classes_describe_a_service() -> None:
    @runtime_checkable
    class Base(Protocol):
        async def ping(self) -> str: ...

    @service(name="pinger")
    @runtime_checkable
    class Pinger(Base, Protocol):
        def pong(self, number: int) -> Any: ...

    class Implementation(Pinger):
        async def ping(self) -> str:
            return "pong"

        async def pong(self, number: int) -> int:
            return number

    class Structural:
        ping = Implementation.ping
        pong = Implementation.pong

    assert names(Implementation()) == [("pinger.ping", True), ("pinger.pong", True)]
    assert isinstance(Structural(), Pinger), "the decorator adds no member"

    @service
    class Abstract(ABC):
        @abstractmethod
        async def ping(self) -> str: ...

    class Concrete(Abstract):
        async def ping(self) -> str:
            return "pong"

    assert names(Concrete()) == [("Abstract.ping", True)]
    interface = declared_interface(Concrete)
    assert interface is not None
    assert [method.kind for method in interface.methods] == ["any"]


def test_what_is_no_service_class() -> None:
    def function() -> None: ...

    with pytest.raises(RegistrationError, match=r"function \(.*use @register_call"):
        service(function)
    with pytest.raises(RegistrationError, match="Empty has no public method"):

        @service
        class Empty:
            value = 1

            def _private(self) -> None: ...

    with pytest.raises(RegistrationError, match=r"Named.work .* cannot be a service: 'a b.work'"):

        @service(name="a b")
        class Named:
            def work(self) -> None: ...

    with pytest.raises(RegistrationError, match=r"'Limited.work': queue_size is -1"):

        @service(queue_size=-1)
        class Limited:
            def work(self) -> None: ...

    with pytest.raises(TypeError, match="queue_sise"):
        service(queue_sise=1)  # type: ignore[call-overload] # pyright: ignore


def test_a_class_is_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    server = RpcServer(url="memory://service-classes")
    with pytest.raises(RegistrationError, match=r"Math is a service class.*add_service\(Math\(\.\.\.\)\)"):
        server.add_service(Math)
    with pytest.raises(RegistrationError, match="is not callable"):
        server.add_service(object())
    assert server.services == ()


def test_all_methods_are_added_or_none() -> None:
    server = RpcServer(url="memory://service-classes")

    def taken() -> None: ...

    server.add_service(taken, name="Math.made")
    with pytest.raises(RegistrationError, match=r"'Math.made': two functions"):
        server.add_service(Math())
    assert [each.name for each in server.services] == ["Math.made"]

    class Lost:
        def first(self, number: int) -> None: ...

        def second(self, number: Nowhere) -> None:  # type: ignore[name-defined] # noqa: F821 # pyright: ignore
            ...

    with pytest.raises(RegistrationError, match=r"Lost\.second.*Nowhere"):
        server.add_service(service(Lost)(), validate=True)
    assert [each.name for each in server.services] == ["Math.made"]
    added = server.add_service(Orders())
    assert [each.name for each in added] == ["shop.orders.v2.place", "shop.orders.v2.undo"]
    assert server.services[1:] == added


def test_objects_among_symbols_are_served() -> None:
    server = RpcServer(url="memory://service-classes")
    orders = Orders()
    server.load_services({"orders": orders, "again": orders, "Orders": Orders, "Math": Math, "text": "text"})
    assert [each.name for each in server.services] == ["shop.orders.v2.place", "shop.orders.v2.undo"]


def test_objects_in_plugin_files_are_served(tmp_path: Path) -> None:
    server = RpcServer(url="memory://service-classes")
    (tmp_path / "math_plugin.py").write_text(
        "from rabibridge_core import service\n\n"
        "@service(name='plug')\nclass Plug:\n    async def work(self): ...\n\nplug = Plug()\n"
    )
    server.load_plugins(tmp_path)
    assert [each.name for each in server.services] == ["plug.work"]


def test_generator_methods_stream() -> None:
    @service
    class Streams:
        async def rows(self) -> AsyncIterator[int]:
            yield 1

        def pages(self) -> Iterator[int]:
            yield 1

        async def count(self) -> int:
            return 1

    rows, pages, count = schemas_of(Streams(), ServiceLimits())
    assert [(one.streams, one.is_async) for one in (rows, pages, count)] == [(True, True), (True, False), (False, True)]
    assert [name for name, adapter in interface_of(Streams).adapters().items() if adapter is not None] == ["count"]
