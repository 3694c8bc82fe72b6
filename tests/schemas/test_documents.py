"""OpenRPC and AsyncAPI documents: valid by the schemas of the specifications, complete, and the same from workers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.introspection import ServiceStatus
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.schemas import InterfaceDescription
from tests.schemas import shop_services
from tests.schemas.support import dangling, described, errors_of_asyncapi, errors_of_openrpc, loaded

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def shop() -> InterfaceDescription:
    server = RpcServer(url="memory://schemas")
    server.load_services(vars(shop_services))
    return InterfaceDescription.of_server(server.services)


def _method(document: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in document["methods"] if each["name"] == name]
    return found  # type: ignore[no-any-return]


def test_documents_are_valid_and_no_reference_is_dangling(shop: InterfaceDescription) -> None:
    openrpc, asyncapi = shop.openrpc("shop", "1.4.0"), shop.asyncapi("shop", "1.4.0")
    assert shop.failures == {}
    assert errors_of_openrpc(openrpc) == []
    assert errors_of_asyncapi(asyncapi) == []
    assert dangling(openrpc) == dangling(asyncapi) == []
    assert {"Node", "Even", "Odd", "Page_int", "Page_str", "Colour"} <= openrpc["components"]["schemas"].keys()
    assert errors_of_openrpc({**openrpc, "methods": [{"name": 5}]})
    assert errors_of_asyncapi({**asyncapi, "channels": {"a": {"address": 5}}})


def test_a_document_says_what_callers_need(shop: InterfaceDescription) -> None:
    total = _method(shop.openrpc("shop", "1.4.0"), "total")
    assert total["summary"] == "Return the price of all items."
    assert [(each["name"], each["required"]) for each in total["params"]] == [
        ("items", True), ("discount", False), ("rate", False),
    ]  # fmt: skip
    assert total["params"][1]["schema"]["default"] == 0.0
    assert total["errors"] == [{"code": 1, "message": "shop.out_of_stock"}]
    assert total["x-rabibridge"]["limits"]["queue_size"] == 100
    assert _method(shop.openrpc("shop", "1"), "count")["x-rabibridge"]["streams"] is True


def test_secrets_are_not_written(shop: InterfaceDescription) -> None:
    document = json.dumps([shop.openrpc("shop", "1"), shop.asyncapi("shop", "1")])
    assert "hunter2" not in document
    assert "*****" not in document  # a mask would be sent as the value


def test_a_document_is_read_back_as_it_was(shop: InterfaceDescription) -> None:
    document = json.loads(json.dumps(shop.openrpc("shop", "1.4.0")))
    again = InterfaceDescription.of_openrpc(document)
    assert again.openrpc("shop", "1.4.0") == document
    assert again.changes_to(shop) == shop.changes_to(again) == ()
    assert again.client_module("shop") == shop.client_module("shop")


async def test_workers_tell_the_same_as_the_code(shop: InterfaceDescription) -> None:
    server = RpcServer(url="memory://schemas-live")
    server.load_services(vars(shop_services))
    async with server.serving(), RpcClient(url="memory://schemas-live") as client:
        live = InterfaceDescription.of_workers(await client.services())
    assert live.openrpc("shop", "1") == shop.openrpc("shop", "1")
    assert live.asyncapi("shop", "1") == shop.asyncapi("shop", "1")


def _with_input(name: str, type_of_field: str) -> Callable[..., Any]:
    """Return a service whose module has a class ``Input`` of its own."""
    source = f"from dataclasses import dataclass\n@dataclass\nclass Input:\n    value: {type_of_field}\n"
    source += f"async def {name}(given: Input) -> Input: ..."
    return loaded(source, f"module_{name}")[name]  # type: ignore[no-any-return]


def test_classes_of_one_name_are_both_there_whatever_the_order() -> None:
    first, second = _with_input("first", "int"), _with_input("second", "str")
    document = described(first, second).openrpc("two", "1")
    assert document == described(second, first).openrpc("two", "1")
    schemas = document["components"]["schemas"]
    assert sorted(each["properties"]["value"]["type"] for each in schemas.values()) == ["integer", "string"]
    assert described(first, second).changes_to(described(second, first)) == ()
    assert dangling(document) == []


def test_classes_of_one_name_in_one_service() -> None:
    one, other = _with_input("first", "int"), _with_input("second", "str")

    async def both(left: Any, right: Any) -> None: ...

    both.__annotations__ = {"left": one.__annotations__["given"], "right": other.__annotations__["given"]}
    document = described(both).openrpc("both", "1")
    assert len(document["components"]["schemas"]) == 2
    assert dangling(document) == []


@pytest.mark.parametrize("name", ["math/v2~add [x]", "größe", "a b", ""])
def test_names_that_would_break_pointers_are_none_of_services(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a service name"):
        InterfaceDescription.of_openrpc({"openrpc": "1.3.2", "methods": [{"name": name, "params": []}]})


def test_long_names_and_all_allowed_characters() -> None:
    async def add(a: int) -> int:
        return a

    server = RpcServer(url="memory://schemas")
    for name in ("a" * 200, "A.b-c_d", "1.2", ".", "-"):
        server.add_service(add, name=name)
    found = InterfaceDescription.of_server(server.services)
    assert errors_of_openrpc(found.openrpc("x", "1")) == errors_of_asyncapi(found.asyncapi("x", "1")) == []
    assert dangling(found.asyncapi("x", "1")) == []
    compile(found.client_module("x"), "client.py", "exec")


def test_one_service_that_cannot_be_described_leaves_the_others() -> None:
    async def good(a: int) -> int:
        return a

    async def bad(a: int) -> int:
        return a

    bad.__annotations__ = {"a": "Missing", "return": "int"}
    found = described(good, bad)
    assert found.names == ("good",)
    assert "'Missing'" in found.failures["bad"]


def test_what_has_no_schema_is_any_value_and_said() -> None:
    class Opaque: ...

    async def use(a: Opaque, b: int) -> Opaque:
        return a

    found = described(use)
    assert found.failures == {}
    assert [each.split(" has no JSON schema")[0] for each in found.undescribed] == [
        "use: the argument 'a'", "use: the result",
    ]  # fmt: skip
    assert _method(found.openrpc("x", "1"), "use")["params"][0]["schema"] == {}


_GARBAGE: list[Any] = [
    {"type": 5}, {"type": "object", "properties": []}, {"$ref": "#/$defs/None"}, {"anyOf": []}, {"anyOf": 3},
    {"required": ["a", "a"]}, {"enum": []}, {"items": [[]]}, {"pattern": 1}, [], None, {"default": float("nan")},
    {"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"}, {"x-python-type": "os.system"},
    {"$ref": "https://example.org/evil.json"}, {"allOf": [{"allOf": [{"not": True}]}]},
]  # fmt: skip


@pytest.mark.parametrize("garbage", _GARBAGE, ids=repr)
def test_documents_of_hostile_workers_are_valid_all_the_same(garbage: Any) -> None:
    status = ServiceStatus(
        name="evil", kind="async", workers=("w",), result_schema=garbage,
        schema={"type": "object", "properties": {"a": garbage}},
        parameters=({"name": "a", "kind": "either"}, {"name": "b", "kind": "args", "schema": garbage}),
        errors=({"code": "x", "schema": garbage}, {"code": "'; import os"}),
    )  # fmt: skip
    found = InterfaceDescription.of_workers([status])
    openrpc, asyncapi = found.openrpc("x", "1"), found.asyncapi("x", "1")
    assert errors_of_openrpc(openrpc) == errors_of_asyncapi(asyncapi) == []
    assert dangling(openrpc) == dangling(asyncapi) == []
    compile(found.client_module("x"), "client.py", "exec")


async def test_deep_schemas_end() -> None:
    schema: dict[str, Any] = {}
    for _ in range(2000):
        schema = {"type": "array", "items": schema}
    status = ServiceStatus(name="deep", kind="async", workers=("w",), result_schema=schema, schema={"type": "object"})
    found = await asyncio.to_thread(InterfaceDescription.of_workers, [status])
    json.dumps(found.openrpc("x", "1"))
    found.client_module("x")
