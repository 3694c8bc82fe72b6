"""Modules that ``rabibridge stubs`` writes: both type checkers accept them, and calls through them reach services."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import RMQServer, declare_call
from rabibridge_core.errors import ConfigurationError, RegistrationError
from rabibridge_core.introspection import ServiceStatus
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.schemas import InterfaceDescription
from tests.schemas import shop_services
from tests.schemas.support import FOLDER, described, loaded
from tests.support.strict_mypy import run_mypy
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tools.broker import Broker


def _shop() -> InterfaceDescription:
    server = RpcServer(url="memory://stubs")
    server.load_services(vars(shop_services))
    return InterfaceDescription.of_server(server.services)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a program beside the module that it imports."""
    (tmp_path / "shop.py").write_text(_shop().client_module("shop"))
    (tmp_path / "program.py").write_text((FOLDER / "use_stubs.txt").read_text())
    return tmp_path / "program.py"


@pytest.mark.timeout(300)  # both type checkers begin without a cache
def test_type_checkers_accept_the_module_and_its_use(program: Path) -> None:
    (program.parent / "pyrightconfig.json").write_text('{"strict": ["."]}')
    pyright = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    for done in (
        run_mypy(program.parent, ["shop.py", "program.py"]),
        subprocess.run(pyright, cwd=program.parent, capture_output=True, text=True, check=False),
    ):
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(120)
def test_wrong_calls_are_errors_for_type_checkers(program: Path) -> None:
    wrong = program.with_name("wrong.py")
    wrong.write_text(
        "import shop\nfrom rabibridge import RMQClient\n"
        "async def main(client: RMQClient) -> None:\n"
        "    await client.call(shop.total, 5)\n"
        "    price: str = await client.call(shop.when, shop.DEFAULT)\n"
        "    await client.service(shop.OrdersV2).price(item=3)\n"
    )
    done = run_mypy(program.parent, ["wrong.py"])
    assert [line for line in (4, 5, 6) if f"wrong.py:{line}:" not in done.stdout] == [], done.stdout


async def test_round_trip(program: Path, rabbitmq: Broker) -> None:
    """In a process of its own, as it declares an error again, which a program does once."""
    url = rabbitmq.fresh_vhost()
    server = RMQServer(url=url)
    server.load_services(vars(shop_services))
    async with server.serving():
        await server.wait_serving()
        done = await _run(program, url)
    assert done == "done\n"


async def _run(program: Path, url: str) -> str:
    import asyncio

    process = await asyncio.create_subprocess_exec(
        sys.executable, program.name, url, cwd=program.parent, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    return output.decode()


_TEXTS = [
    'ends with a quote"', '"""', '"""\nimport os\n"""', "\\", '\\"""', "\\N{DEGREE SIGN} \\x41", "*/", "\x00\x1b[31m",
    "\u202e", "a\nb\\", "'''", '""""', "\\\\\"\"\"", "\ud800", "{1/0}",
]  # fmt: skip


@pytest.mark.parametrize("text", _TEXTS, ids=ascii)
def test_no_text_of_a_worker_becomes_code(text: str) -> None:
    schema = {
        "type": "object", "title": text, "description": text, "default": text, "properties": {text: {"default": text}},
    }  # fmt: skip
    status = ServiceStatus(
        name="evil.call", kind="async", workers=("w",), doc=text, limits={"uploads": [text]},
        schema={
            "type": "object", "properties": {"a": {"default": text, "enum": [text, "b"]}, text: {}, "c": schema},
            "$defs": {text: {**schema, "enum": [text], "x-enum-varnames": [text]}, "D": schema},
        },
        result_schema={"$ref": "#/$defs/D", "format": text, "x-python-type": text},
        parameters=({"name": "a", "kind": "either"}, {"name": "c", "kind": "either"}),
        errors=({"code": "x", "schema": {**schema, "properties": {"f": {"const": text}}}},),
    )  # fmt: skip
    found = InterfaceDescription.of_workers([status])
    source = found.client_module(text)
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert calls <= {"declare_call", "service", "TypedDict", "dataclass", "field"}
    assert "os" not in {
        alias.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for alias in node.names
    }
    loaded(source)


@pytest.mark.parametrize(
    "name",
    [
        "self",
        "_self",
        "cls",
        "int",
        "list",
        "str",
        "type",
        "Any",
        "Protocol",
        "builtins",
        "_x",
        "declare_call",
        "service",
        "dataclass",
        "DEFAULT",
        "datetime",
        "client",
        "timeout",
        "request",
        "args",
        "kwargs",
        "call",
        "mro",
    ],
)
def test_names_of_parameters_fields_and_services_that_collide(name: str) -> None:
    properties = {
        name: {"type": "integer"},
        "other": {"type": "array", "items": {"type": "string", "format": "date-time"}},
    }
    statuses = [
        ServiceStatus(
            name=service, kind="async", workers=("w",),
            schema={"type": "object", "properties": {name: {"type": "integer"}, "b": {"$ref": "#/$defs/M"}}, "$defs": {
                "M": {"type": "object", "properties": properties, "required": ["other"]},
            }},
            parameters=({"name": name, "kind": "either"}, {"name": "b", "kind": "keyword-only"}),
        )
        for service in (name, f"group.{name}", f"{name}.method")
    ]  # fmt: skip
    source = InterfaceDescription.of_workers(statuses).client_module("x")
    names = loaded(source)
    assert names[name].__code__.co_varnames[:1] == (name,) or name == "self"


def test_keywords_as_names_of_parameters() -> None:
    status = ServiceStatus(
        name="class", kind="async", workers=("w",), schema={"type": "object", "properties": {"from": {}}},
        parameters=({"name": "from", "kind": "either"},),
    )  # fmt: skip
    source = InterfaceDescription.of_workers([status]).client_module("x")
    assert "async def class_(*_args: Any, **_kwargs: Any)" in source
    assert '@declare_call(name="class")' in source


def test_what_is_no_document_is_refused() -> None:
    documents: list[Any] = [None, [], {}, {"openrpc": "1.3.2"}, {"openrpc": "1.3.2", "methods": [1]}]
    for document in documents:
        with pytest.raises(ConfigurationError, match="is no OpenRPC document"):
            InterfaceDescription.of_openrpc(document)


@declare_call(name="maths.plus")
async def plus(a: int, b: int) -> int:
    raise NotImplementedError


@declare_call
def upto(end: int) -> AsyncIterator[int]:
    raise NotImplementedError


async def test_declarations_are_called_and_not_served() -> None:
    def work(a: int, b: int) -> int:
        return a + b

    def numbers(end: int) -> Any:
        yield from range(end)

    server = RpcServer(url="memory://declared")
    server.add_service(work, name="maths.plus")
    server.add_service(numbers, name="upto")
    server.load_services(globals())
    assert [each.name for each in server.services] == ["maths.plus", "upto"]
    with pytest.raises(RegistrationError, match="only declares a service"):
        server.add_service(plus)
    async with server.serving(), RpcClient(url="memory://declared") as client:
        assert await client.call(plus, 1, b=2) == 3
        assert [each async for each in client.stream(upto, 3)] == [0, 1, 2]
        assert [each async for each in client.stub(upto)(2)] == [0, 1]


def test_a_module_without_awkward_names_is_plain() -> None:
    async def add(a: int, b: int = 0) -> int:
        """Return the sum."""
        return a + b

    assert (
        described(add)
        .client_module("maths")
        .endswith('''
@declare_call
async def add(a: int, b: int = 0) -> int:
    """Return the sum."""
    raise NotImplementedError
''')
    )
