"""Descriptions of services, the schemas of the specifications, and generated modules as they are imported."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from referencing import Registry
from referencing.jsonschema import DRAFT7

from rabibridge_core.rpc import RpcServer
from rabibridge_core.schemas import InterfaceDescription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = Path(__file__).parent
_OFFICIAL = FOLDER / "official"


def server_of(*offered: Any) -> RpcServer:
    server = RpcServer(url="memory://schemas")
    for each in offered:
        server.add_service(each)
    return server


def described(*offered: Any) -> InterfaceDescription:
    return InterfaceDescription.of_server(server_of(*offered).services)


def loaded(source: str, name: str = "generated_client") -> dict[str, Any]:
    """Return the names of a module that is made of a source, as an import would."""
    module = sys.modules[name] = ModuleType(name)
    exec(compile(source, f"{name}.py", "exec", dont_inherit=True), vars(module))
    return vars(module)


def changes(old: Callable[..., Any], new: Callable[..., Any]) -> list[tuple[str, bool]]:
    """Return what callers of the old function notice of the new one; both are served by the same name."""

    def as_one(func: Callable[..., Any]) -> InterfaceDescription:
        server = RpcServer(url="memory://schemas")
        server.add_service(func, name="it")
        return InterfaceDescription.of_server(server.services)

    return [(each.rule, each.breaks) for each in as_one(old).changes_to(as_one(new))]


def _official(name: str) -> Any:
    return json.loads((_OFFICIAL / name).read_text())


def _validator(schema: Any, **options: Any) -> Any:
    # Its import takes over a second, which every process of the test run would spend at its start.
    from jsonschema import Draft7Validator  # type: ignore[import-untyped] # pyright: ignore[reportMissingModuleSource]

    return Draft7Validator(schema, **options)


def errors_of_openrpc(document: Any) -> list[str]:
    draft7 = DRAFT7.create_resource(_official("json-schema-draft-7.json"))
    registry: Registry[Any] = Registry().with_resources(
        [("https://meta.json-schema.tools/", draft7), ("https://meta.json-schema.tools", draft7)]
    )
    return _errors(_validator(_official("openrpc-1.3.json"), registry=registry), document)


def errors_of_asyncapi(document: Any) -> list[str]:
    return _errors(_validator(_official("asyncapi-3.0.0.json")), document)


def _errors(validator: Any, document: Any) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(document)]


def dangling(document: Any) -> list[str]:
    """Return the references of a document that lead nowhere, which no schema of a specification sees."""

    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(found := value.get("$ref"), str):
                yield found
            for each in value.values():
                yield from references(each)
        elif isinstance(value, list):
            for each in value:
                yield from references(each)

    return sorted({each for each in references(document) if not _resolves(document, each)})


def _resolves(document: Any, reference: str) -> bool:
    found = document
    if not reference.startswith("#/"):
        return False
    for step in reference[2:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or key not in found:
            return False
        found = found[key]
    return True
