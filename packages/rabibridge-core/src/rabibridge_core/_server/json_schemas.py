"""JSON schemas of the arguments and the result of a service, as pydantic makes them from annotations."""

from __future__ import annotations

import inspect
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from rabibridge_core._codec.annotation_names import resolved_annotation, result_annotation
from rabibridge_core._codec.annotations import item_annotation
from rabibridge_core._services.injection import signature_for_callers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["arguments_schema", "callers_signature", "result_schema"]

_LENGTH_MAX = 32_000
"""Longest JSON schema that is sent, in characters."""
_DEFAULT_MAX = 500
_REFERENCE = "#/$defs/{model}"
_KEYWORDS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def callers_signature(schema: ServiceSchema) -> inspect.Signature | None:
    """Return the signature of a service without what the server fills in; ``None``: the function has none."""
    if schema.injections is not None:
        return schema.injections.signature
    try:
        return signature_for_callers(schema.func_ptr)
    except (TypeError, ValueError):
        return None


def arguments_schema(schema: ServiceSchema) -> Mapping[str, Any] | None:
    """Return the JSON schema of the arguments: an object with a property for each parameter that callers give.

    A parameter without an annotation, or with one that has no JSON schema, may be anything. ``None``: the function has
    no signature, or its schema is too long.
    """
    signature = callers_signature(schema)
    if signature is None:
        return None
    parameters = signature.parameters.values()
    properties: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    required: list[str] = []
    for parameter in parameters:
        if parameter.kind not in _KEYWORDS:
            continue
        if parameter.name in schema.uploads:
            described: dict[str, Any] = {"type": "array", "description": "fed by the caller, item by item"}
        else:
            described = _described(partial(resolved_annotation, schema.func_ptr, parameter.name), "validation")
        definitions.update(described.pop("$defs", {}))
        if parameter.default is inspect.Parameter.empty:
            required.append(parameter.name)
        elif _is_json(parameter.default):
            described = {**described, "default": parameter.default}
        properties[parameter.name] = described
    whole: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    whole["additionalProperties"] = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return _short({**whole, "$defs": definitions} if definitions else whole)


def result_schema(schema: ServiceSchema) -> Mapping[str, Any] | None:
    """Return the JSON schema of the result, of a stream that of its items; ``None``: there is none."""

    def annotation() -> Any:
        found = result_annotation(schema.func_ptr)
        return item_annotation(found) if schema.streams else found

    return _short(_described(annotation, "serialization")) or None


def _described(annotation: Callable[[], Any], mode: Any) -> dict[str, Any]:
    """Return the schema of an annotation; empty if it allows none: whatever its classes raise while they are asked."""
    from pydantic import TypeAdapter

    try:
        found = annotation()
        if found is inspect.Parameter.empty:
            return {}
        return dict(TypeAdapter(found).json_schema(mode=mode, ref_template=_REFERENCE))
    except Exception:  # noqa: BLE001 - see above; a service needs no schema
        return {}


def _is_json(value: object) -> bool:
    try:
        return len(json.dumps(value, allow_nan=False)) <= _DEFAULT_MAX
    except (TypeError, ValueError, RecursionError):
        return False


def _short(schema: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return schema if len(json.dumps(schema, allow_nan=False)) <= _LENGTH_MAX else None
    except (TypeError, ValueError, RecursionError):
        return None
