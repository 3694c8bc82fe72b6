"""Writes and reads OpenRPC documents. What OpenRPC has no place for stands in ``x-rabibridge``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.naming import check_service_name
from rabibridge_core._reporting.error_text import printable
from rabibridge_core._schemas.cleaning import clean_schema
from rabibridge_core._schemas.definitions import with_shared_definitions
from rabibridge_core._schemas.services import (
    PARAMETER_KINDS,
    TOLD_LIMITS,
    DescribedError,
    DescribedParameter,
    DescribedService,
    is_code,
)
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["openrpc_document", "read_openrpc"]

EXTENSION = "x-rabibridge"
_POINTER = "#/components/schemas/"
_VERSION = "1.3.2"


def openrpc_document(services: Iterable[DescribedService], title: str, version: str) -> dict[str, Any]:
    """Return the services as an OpenRPC document."""
    described, definitions = with_shared_definitions(services, _POINTER)
    names = [each.name for each in described]
    return {
        "openrpc": _VERSION,
        "info": {"title": title, "version": version},
        "methods": [_method(each, unique=names.count(each.name) == 1) for each in described],
        "components": {"schemas": definitions},
    }


def _method(service: DescribedService, *, unique: bool) -> dict[str, Any]:
    parameters = service.parameters or ()
    named = [each for each in parameters if each.kind not in ("args", "kwargs")]
    method: dict[str, Any] = {"name": service.name if unique else f"{service.name} ({service.kind})"}
    if service.doc:
        method |= {"summary": service.doc.partition("\n")[0], "description": service.doc}
    method |= {
        "paramStructure": _structure(service),
        "params": [
            {"name": each.name, "required": each.required, "schema": each.schema, EXTENSION: _about_parameter(each)}
            for each in named
        ],
        "result": {"name": "items" if service.streams else "result", "schema": _result(service)},
        "errors": [{"code": number, "message": each.code} for number, each in enumerate(service.errors, 1)],
    }
    about: dict[str, Any] = {
        "name": service.name,
        "kind": service.kind,
        "streams": service.streams,
        "parameters_known": service.parameters is not None,
        "errors": [{"code": each.code, "schema": each.schema} for each in service.errors],
        "limits": dict(service.limits),
        "classes": list(service.classes),
    }
    for each in parameters:
        if each.kind in ("args", "kwargs"):
            about[each.kind] = {"name": each.name, "schema": each.schema}
    return {**method, EXTENSION: about}


def _structure(service: DescribedService) -> str:
    kinds = {each.kind for each in service.parameters or () if each.kind not in ("args", "kwargs")}
    if "either" in kinds or len(kinds) != 1:
        return "either"
    return "by-position" if kinds == {"positional-only"} else "by-name"


def _about_parameter(parameter: DescribedParameter) -> dict[str, Any]:
    return {"kind": parameter.kind, "upload": parameter.upload}


def _result(service: DescribedService) -> dict[str, Any]:
    return {"type": "array", "items": service.result} if service.streams else service.result


def read_openrpc(document: object) -> tuple[DescribedService, ...]:
    """Return the services of an OpenRPC document, of this product or another one. It is not trusted.

    Raises:
        ConfigurationError: it is no OpenRPC document, or no service can have the name of a method.
    """
    if not isinstance(document, dict) or not isinstance(document.get("openrpc"), str):
        raise ConfigurationError("it is no OpenRPC document: it has no text 'openrpc'")
    methods = document.get("methods")
    if not isinstance(methods, list) or not all(isinstance(each, dict) for each in methods):
        raise ConfigurationError("it is no OpenRPC document: 'methods' is no list of objects")
    definitions = {str(name): _read(each) for name, each in _mapping(document, "components", "schemas").items()}
    return tuple(_service(each, definitions) for each in methods)


def _service(method: Mapping[str, Any], definitions: Mapping[str, Any]) -> DescribedService:
    about = _mapping(method, EXTENSION)
    result = _read(_mapping(method, "result").get("schema"))
    streams = about.get("streams") is True
    limits = _mapping(about, "limits")
    classes = about.get("classes")
    return DescribedService(
        name=check_service_name(about.get("name", method.get("name"))),
        kind="sync" if about.get("kind") == "sync" else "async",
        doc=printable(str(method.get("description", method.get("summary", "")))[:4000], lines=True),
        parameters=_parameters(method, about) if about.get("parameters_known", True) is True else None,
        result=_items(result) if streams else result,
        streams=streams,
        errors=_errors(about),
        limits={name: limits[name] for name in TOLD_LIMITS if isinstance(limits.get(name), int | float | str)},
        classes=tuple(each for each in classes if isinstance(each, str)) if isinstance(classes, list) else (),
        definitions=definitions,
    )


def _items(result: dict[str, Any]) -> dict[str, Any]:
    items = result.get("items")
    return items if isinstance(items, dict) else {}


def _parameters(method: Mapping[str, Any], about: Mapping[str, Any]) -> tuple[DescribedParameter, ...] | None:
    params = method.get("params")
    found: dict[str, DescribedParameter] = {}
    for each in params if isinstance(params, list) else ():
        name = each.get("name") if isinstance(each, dict) else None
        if not isinstance(name, str) or name in found:
            return None
        own = _mapping(each, EXTENSION)
        kind = own["kind"] if own.get("kind") in PARAMETER_KINDS[:3] else "either"
        required, upload = each.get("required") is True, own.get("upload") is True
        found[name] = DescribedParameter(name, kind, required, _read(each.get("schema")), upload)
    for kind in ("args", "kwargs"):
        if isinstance(more := about.get(kind), dict):
            name = str(more.get("name", kind))
            found[name] = DescribedParameter(name, kind, False, _read(more.get("schema")))
    return tuple(sorted(found.values(), key=lambda each: _PLACES[each.kind]))


_PLACES = {"positional-only": 0, "either": 1, "args": 2, "keyword-only": 3, "kwargs": 4}


def _errors(about: Mapping[str, Any]) -> tuple[DescribedError, ...]:
    told = about.get("errors")
    found = [
        DescribedError(each["code"], _read(each.get("schema")))
        for each in (told if isinstance(told, list) else ())
        if isinstance(each, dict) and is_code(each.get("code"))
    ]
    return tuple({each.code: each for each in found}.values())


def _read(schema: object) -> dict[str, Any]:
    """Return a schema of a document, with references as they are within one service."""
    return clean_schema(_with_own_pointers(schema, 0))


def _with_own_pointers(value: Any, depth: int) -> Any:
    if depth > 80:
        return {}
    if isinstance(value, dict):
        return {
            key: "#/$defs/" + each.removeprefix(_POINTER)
            if key == "$ref" and isinstance(each, str) and each.startswith(_POINTER)
            else _with_own_pointers(each, depth + 1)
            for key, each in value.items()
        }
    return [_with_own_pointers(each, depth + 1) for each in value] if isinstance(value, list) else value


def _mapping(value: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    found: Any = value
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}
