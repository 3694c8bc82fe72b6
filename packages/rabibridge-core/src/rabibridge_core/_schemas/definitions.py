"""Puts the definitions of several services together, under names that do not depend on the order of the services."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rabibridge_core._schemas.cleaning import map_schemas, references

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rabibridge_core._schemas.services import DescribedService

__all__ = ["with_references", "with_shared_definitions"]

_OLD = "#/$defs/"
_NAME_MAX = 100


def with_shared_definitions(
    services: Iterable[DescribedService], pointer: str
) -> tuple[list[DescribedService], dict[str, Any]]:
    """Return the services with references to shared definitions, sorted by name, and these definitions.

    Definitions of one name that are equal, with everything that they refer to, are one. If they differ, each has the
    name of the first service that uses it in front.

    Args:
        services: the services.
        pointer: what references begin with, as in ``#/components/schemas/``.
    """
    ordered = sorted(services, key=lambda each: (each.name, each.kind))
    forms: dict[str, dict[str, str]] = {}
    for service in ordered:
        for name in service.definitions:
            forms.setdefault(name, {}).setdefault(_form(name, service.definitions), service.name)
    names: dict[tuple[str, str], str] = {}
    for name in sorted(forms):
        for form, first in forms[name].items():
            wanted = name if len(forms[name]) == 1 else f"{first}_{name}"
            names[name, form] = _free(wanted, set(names.values()))
    shared: dict[str, Any] = {}
    rewritten = []
    for service in ordered:
        own = {name: names[name, _form(name, service.definitions)] for name in service.definitions}
        change = _renaming(own, pointer)
        shared.update({own[name]: map_schemas(each, change) for name, each in service.definitions.items()})
        rewritten.append(_with_schemas(service, change))
    return rewritten, dict(sorted(shared.items()))


def with_references(service: DescribedService, pointer: str) -> DescribedService:
    """Return a service whose references begin with ``#/$defs/`` instead of ``pointer``."""

    def change(part: dict[str, Any]) -> dict[str, Any]:
        if str(part.get("$ref", "")).startswith(pointer):
            return {**part, "$ref": _OLD + part["$ref"].removeprefix(pointer)}
        return part

    return _with_schemas(service, change)


def _with_schemas(service: DescribedService, change: Callable[[dict[str, Any]], dict[str, Any]]) -> DescribedService:
    parameters = service.parameters
    if parameters is not None:
        parameters = tuple(replace(each, schema=map_schemas(each.schema, change)) for each in parameters)
    return replace(
        service,
        parameters=parameters,
        result=map_schemas(service.result, change),
        errors=tuple(replace(each, schema=map_schemas(each.schema, change)) for each in service.errors),
        definitions={},
    )


def _renaming(names: Mapping[str, str], pointer: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(part: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in part:
            return part
        name = names.get(part["$ref"].removeprefix(_OLD))
        return {} if name is None else {"$ref": pointer + name}  # what a worker has not sent may be any value

    return change


def _form(name: str, definitions: Mapping[str, Any]) -> str:
    """Return a text that is equal for definitions that are equal, with everything that they refer to."""
    reached: dict[str, Any] = {}
    left = [name]
    while left:
        found = left.pop()
        if found in definitions and found not in reached:
            reached[found] = definitions[found]
            left += references(definitions[found])
    return json.dumps(reached, sort_keys=True)


def _free(wanted: str, taken: set[str]) -> str:
    """Return a name of letters, digits and ``_`` that is not taken: any pointer can hold it as it is."""
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", wanted).strip("_")[:_NAME_MAX] or "Model"
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}_{number}", number + 1
    return name
