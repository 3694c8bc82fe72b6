"""``client.stub``: remote functions as callables."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from rabibridge_core import (
    ConfigurationError,
    Depends,
    RegistrationError,
    SerializationError,
    current_call,
    register_call,
)
from rabibridge_core.rpc import RpcClient

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker


@dataclass
class Point:
    x: int
    y: int


@register_call
async def add(left: int, right: int = 0) -> int:
    return left + right


@register_call
def mirrored(point: dict[str, int]) -> Point:
    return {"x": point["y"], "y": point["x"]}  # type: ignore[return-value] # pyright: ignore[reportReturnType]


async def wrong() -> int:
    return "text"  # type: ignore[return-value] # pyright: ignore[reportReturnType]


async def tenant() -> Any:
    return current_call().headers.get("tenant")


@pytest.fixture
def served(fake_broker: FakeBroker) -> FakeBroker:
    for function in (add, mirrored, wrong, tenant):
        fake_broker.add_service(function)
    return fake_broker


async def test_a_stub_calls_like_its_client(served: FakeBroker) -> None:
    async with RpcClient() as client:
        stub = client.stub(add, timeout=20, idempotent=True)
        assert await stub(1, right=2) == 3
        assert await stub(left=1) == 1
        assert await client.stub("add")(1, right=2) == 3
        assert await client.stub(wrong, name="add")(1, 2) == 3  # type: ignore[call-arg] # pyright: ignore
        assert await client.call(stub, 1, 2) == 3
        assert await client.stub(stub)(1, 2) == 3
        assert (await client.stub(tenant)(), await client.stub(tenant, headers={"tenant": "a"})()) == (None, "a")


async def test_options_are_added_to_those_of_the_stub(served: FakeBroker) -> None:
    async with RpcClient() as client:
        stub = client.options(timeout=20).stub(tenant, headers={"tenant": "a", "b": 1})
        assert await stub.options(headers={"tenant": "c"})() == "c"
        assert await stub() == "a"
        assert stub.options(timeout=1)._calls._given.headers == {"tenant": "a", "b": 1}
        assert stub._calls._given.timeout == 20


async def test_results_follow_the_annotation(served: FakeBroker) -> None:
    async with RpcClient() as client:
        assert await client.call(mirrored, {"x": 1, "y": 2}) == Point(2, 1)
        assert await client.stub(mirrored)({"x": 1, "y": 2}) == Point(2, 1)
        as_sent: Any = await client.stub(mirrored, validate=False)({"x": 1, "y": 2})
        assert as_sent == {"x": 2, "y": 1}
        for calls in (client.stub(wrong)(), client.call(wrong)):
            with pytest.raises(SerializationError, match=r"wrong: .*result"):
                await calls
        assert await client.call("wrong") == "text"


async def test_what_cannot_be_found_is_said_when_the_stub_is_made(served: FakeBroker) -> None:
    async def lost() -> Nowhere:  # type: ignore[name-defined] # noqa: F821 # pyright: ignore
        ...

    async with RpcClient() as client:
        with pytest.raises(RegistrationError, match=r"lost.*Nowhere"):
            client.stub(lost)
        with pytest.raises(RegistrationError, match=r"lost.*Nowhere"):
            await client.call(lost)
        client.stub("lost")


async def test_wrong_arguments_of_stub(served: FakeBroker) -> None:
    async with RpcClient() as client:
        with pytest.raises(TypeError, match=r"'timout'.*timeout"):
            client.stub(add, timout=1)  # type: ignore[call-overload] # pyright: ignore
        with pytest.raises(TypeError, match="'timout'"):
            client.stub(add).options(timout=1)  # type: ignore[call-arg] # pyright: ignore
        with pytest.raises(ConfigurationError, match="True or False"):
            client.stub(add, persistent="yes")  # type: ignore[call-overload] # pyright: ignore
        with pytest.raises(ConfigurationError, match="not a service name"):
            client.stub(add, name="a b")
        with pytest.raises(TypeError, match="is a class"):
            client.stub(Point)


async def test_a_stub_is_pickled_without_its_client(served: FakeBroker) -> None:
    async with RpcClient() as client:
        for stub in (client.stub(add, timeout=20, headers={"tenant": "a"}), client.stub("add", timeout=20)):
            arrived = pickle.loads(pickle.dumps(stub))
            assert "no client" in repr(arrived)
            with pytest.raises(ConfigurationError, match=r"'add' has no client.*bind\(client\)"):
                await arrived(1, 2)
            assert await arrived.bind(client)(1, 2) == 3
            assert await arrived.options(timeout=30).bind(client.options(persistent=True))(1, 2) == 3
            bound = arrived.options(timeout=30).bind(client.options(persistent=True))._calls._given
            assert (bound.timeout, bound.persistent) == (30, True)
        point = pickle.loads(pickle.dumps(client.stub(mirrored))).bind(client)
        assert await point({"x": 1, "y": 2}) == Point(2, 1)
        unchecked = pickle.loads(pickle.dumps(client.stub(mirrored, validate=False))).bind(client)
        assert await unchecked({"x": 1, "y": 2}) == {"x": 2, "y": 1}


async def test_copies_keep_the_client(served: FakeBroker) -> None:
    async with RpcClient() as client:
        stub = client.stub(add)
        assert copy.copy(stub) is copy.deepcopy(stub) is stub


async def test_a_stub_looks_like_its_function(served: FakeBroker) -> None:
    async with RpcClient() as client:
        stub = client.stub(add)
        assert inspect.signature(stub) == inspect.signature(add)
        assert stub.__name__ == "add"
        assert repr(stub) == f"<Stub of 'add' by {client.options()!r}>"
        assert str(inspect.signature(client.stub("add"))) == "(*args, **kwargs)"


async def test_a_stub_hides_what_the_server_fills_in(fake_broker: FakeBroker) -> None:
    def unit(name: str = Depends(tenant)) -> str:
        return name

    async def order(
        article: str, count: int = 1, /, left: Point = Depends(), *, note: str = "", by: Annotated[str, Depends(unit)]
    ) -> int:
        return len(article) * count

    class Shop:
        async def order(self, article: str, *, left: Annotated[Point, Depends()]) -> int:
            return left.x

    async with RpcClient() as client:
        for stub in (client.stub(order), client.stub(client.stub(order)), client.stub(partial(order), name="order")):
            assert str(inspect.signature(stub)) == "(article: 'str', count: 'int' = 1, /, *, note: 'str' = '') -> 'int'"
        proxy = client.service(Shop)
        assert str(inspect.signature(proxy.order)) == "(article: 'str') -> 'int'"


async def test_a_stub_can_be_served(served: FakeBroker) -> None:
    async with RpcClient() as client:
        served.add_service(client.stub(add), name="forwarded")
        assert await client.call("forwarded", 1, 2) == 3
