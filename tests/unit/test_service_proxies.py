"""``client.service``: calls of the methods of a service class."""

from __future__ import annotations

import pickle
from collections.abc import Awaitable  # noqa: TC003 - it is looked up when the proxy is made
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

from rabibridge_core import NoRouteError, RegistrationError, current_call, register_call, service
from rabibridge_core.rpc import RpcClient

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker

T_co = TypeVar("T_co", covariant=True)


@dataclass
class Point:
    x: int
    y: int


@service
class Math:
    def __init__(self, start: int = 0) -> None:
        self.start = start

    async def add(self, number: int, *, twice: bool = False) -> int:
        return self.start + number * (2 if twice else 1)

    def mirrored(self, point: dict[str, int]) -> Point:
        return {"x": point["y"], "y": point["x"]}  # type: ignore[return-value] # pyright: ignore[reportReturnType]

    @classmethod
    async def made(cls, start: int) -> int:
        return cls(start).start

    @staticmethod
    def doubled(number: int) -> int:
        return 2 * number

    @register_call(name="time")
    async def seconds(self, timeout: int) -> list[Any]:
        return [timeout, current_call().time_left, dict(current_call().headers)]


class MathProtocol(Protocol):
    async def add(self, number: int, *, twice: bool = False) -> int: ...

    async def mirrored(self, point: dict[str, int]) -> Point: ...

    def doubled(self, number: int) -> Awaitable[int]: ...

    @property
    def start(self) -> int: ...


@pytest.fixture
def served(fake_broker: FakeBroker) -> FakeBroker:
    fake_broker.add_service(Math(10))
    return fake_broker


async def test_the_methods_of_a_service_class(served: FakeBroker) -> None:
    async with RpcClient() as client:
        math = client.service(Math)
        assert await math.add(1) == 11
        assert await math.add(1, twice=True) == 12
        assert await math.made(5) == 5
        mirrored: Any = math.mirrored
        assert await mirrored({"x": 1, "y": 2}) == Point(2, 1)
        assert await client.call(math.mirrored, {"x": 1, "y": 2}) == Point(2, 1)
        assert await client.call(math.doubled, 4) == 8
        assert await client.stub(math.doubled)(4) == 8
        assert math.add is math.add, "it is made once"


async def test_bound_methods_name_the_service(served: FakeBroker) -> None:
    async with RpcClient() as client:
        for _ in range(2):
            assert await client.call(Math(99).add, 1) == 11, "the object that is served is called"
            assert await client.call(Math.made, 3) == 3
            assert await client.call(Math().mirrored, {"x": 1, "y": 2}) == Point(2, 1)
        assert await client.call(Math().seconds, 1)


async def test_options_of_a_proxy(served: FakeBroker) -> None:
    async with RpcClient() as client:
        math = client.options(headers={"a": 1}).service(Math, timeout=50, headers={"b": 2})
        given, left, headers = await math.seconds(timeout=7)
        assert given == 7
        assert 0 < left <= 50
        assert {"a": 1, "b": 2}.items() <= headers.items()
        as_sent: Any = client.service(Math, validate=False).mirrored
        assert await as_sent({"x": 1, "y": 2}) == {"x": 2, "y": 1}
        with pytest.raises(TypeError, match="'timout'"):
            client.service(Math, timout=1)  # type: ignore[call-arg] # pyright: ignore


async def test_a_protocol_is_enough(served: FakeBroker) -> None:
    async with RpcClient() as client:
        math = client.service(MathProtocol, name="Math")
        assert await math.add(1, twice=True) == 12
        assert await math.mirrored({"x": 1, "y": 2}) == Point(2, 1)
        assert await math.doubled(4) == 8
        with pytest.raises(AttributeError, match=r"MathProtocol.start is no method.*: add, mirrored, doubled"):
            _ = math.start
        with pytest.raises(NoRouteError, match=r"MathProtocol\.add"):
            await client.service(MathProtocol).add(1)


async def test_a_generic_protocol(served: FakeBroker) -> None:
    class Store(Protocol[T_co]):
        async def add(self, number: int) -> T_co: ...

    async with RpcClient() as client:
        assert await client.service(Store[int], name="Math").add(1) == 11


async def test_names_and_versions(fake_broker: FakeBroker) -> None:
    @service(name="math", version="2")
    class Newer(Math):
        async def add(self, number: int, *, twice: bool = False) -> int:
            return -number

    fake_broker.add_service(Math(), name="math")
    fake_broker.add_service(Newer())
    async with RpcClient() as client:
        assert await client.service(Newer).add(1) == -1
        assert await client.service(Math, name="math").add(1) == 1
        assert await client.service(MathProtocol, name="math", version=2).add(1) == -1
        assert await client.service(MathProtocol, name="math", version="v2").add(1) == -1
        with pytest.raises(RegistrationError, match=r"'a b\.add'"):
            client.service(Math, name="a b")


async def test_what_is_no_service(served: FakeBroker) -> None:
    class Lost(Protocol):
        async def found(self) -> Nowhere:  # type: ignore[name-defined] # noqa: F821 # pyright: ignore
            ...

    async with RpcClient() as client:
        with pytest.raises(TypeError, match=r"Math object.* give its class, Math"):
            client.service(Math())  # type: ignore[arg-type] # pyright: ignore
        with pytest.raises(TypeError, match="is no class"):
            client.service("Math")  # type: ignore[arg-type] # pyright: ignore
        with pytest.raises(RegistrationError, match=r"Lost.found .*Nowhere"):
            client.service(Lost)
        with pytest.raises(TypeError, match=r"client.service\(Math\).add"):
            await client.call(Math.add, Math(), 1)
        with pytest.raises(AttributeError, match=r"Math.nothing does not exist.*: add, "):
            _ = client.service(Math).nothing  # type: ignore[attr-defined] # pyright: ignore


async def test_a_proxy_looks_like_what_it_is(served: FakeBroker) -> None:
    async with RpcClient() as client:
        math = client.service(Math)
        assert dir(math) == ["add", "doubled", "made", "mirrored", "seconds"]
        assert repr(math) == f"<ServiceProxy of Math by {client.options()!r}>"
        assert not hasattr(math, "_ipython_display_")
        with pytest.raises(TypeError, match=r"client.service\(Math\) in the other process"):
            pickle.dumps(math)
        stub: Any = pickle.loads(pickle.dumps(math.add))
        assert await stub.bind(client)(1) == 11
