"""The error of a value that cannot travel names its place, for callers and for workers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from rabibridge import RemoteExecutionError, RMQClient, SerializationError

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker


@dataclasses.dataclass
class Item:
    price: Any


class Order(pydantic.BaseModel):
    items: list[Any]


class Broken(Item):
    def __getattribute__(self, name: str) -> Any:
        if name == "price":
            raise OSError("secret")
        return super().__getattribute__(name)


PLACES = [
    (Item(slice(1)), ".price"),
    (Order(items=[1, Item(1), Item(slice(1))]), ".items[2].price"),
    ([{"a": {1, slice}}], "[0].a[...]"),
    ({"a": (1, Item({"b c": slice(1)}))}, ".a[1].price[...]"),
    ([Item(1), Broken(1)], "[1]"),
]


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
@pytest.mark.parametrize(("value", "place"), PLACES, ids=[place for _, place in PLACES])
async def test_the_caller_and_the_worker_name_the_place(
    fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, value: object, place: str, serializer: str
) -> None:
    monkeypatch.setenv("RABIBRIDGE_SERIALIZER", serializer)

    async def gives(argument: object = None) -> object:
        return value

    fake_broker.add_service(gives)
    async with RMQClient() as client:
        with pytest.raises(SerializationError) as refused:
            await client.remote_call("gives", (1, value), timeout=30)
        assert str(refused.value).startswith(f"call of 'gives': args[1]{place}: {serializer} cannot encode a value of ")
        with pytest.raises(SerializationError) as refused:
            await client.remote_call("gives", kwargs={"argument": value}, timeout=30)
        assert f"kwargs.argument{place}: " in str(refused.value)
        assert fake_broker.calls == []  # nothing was sent
        with pytest.raises(RemoteExecutionError) as failed:
            await client.remote_call("gives", timeout=30)
    assert failed.value.error_message.startswith(f"service 'gives': result{place}: {serializer} cannot encode a value ")
    assert "secret" not in failed.value.error_message
