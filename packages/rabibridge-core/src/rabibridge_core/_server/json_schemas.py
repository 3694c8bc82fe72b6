"""JSON schemas of the arguments, the result and the errors of a service, as pydantic makes them from annotations.

All of one service are made together: classes of one name from two modules get names of their own.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from rabibridge_core._codec.annotation_names import resolved_annotation, result_annotation
from rabibridge_core._codec.annotations import item_annotation
from rabibridge_core._server.schema_modes import with_modes_joined
from rabibridge_core._services.injection import signature_for_callers
from rabibridge_core.errors import RegistrationError
from rabibridge_core.errors._declared import fields_of, hints_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic import TypeAdapter

    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.errors import ServiceError

__all__ = ["ParameterSchema", "ServiceSchemas", "arguments_schema", "callers_signature", "closed", "service_schemas"]

_LENGTH_MAX = 32_000
"""Longest JSON schema that is sent, in characters."""
_DEFAULT_MAX = 500
_POINTER = "#/$defs/"
_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional-only",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
    inspect.Parameter.KEYWORD_ONLY: "keyword-only",
    inspect.Parameter.VAR_POSITIONAL: "args",
    inspect.Parameter.VAR_KEYWORD: "kwargs",
}
_Mode = Literal["validation", "serialization"]


@dataclass(frozen=True, slots=True)
class ParameterSchema:
    """One parameter that callers give.

    Attributes:
        name: its name.
        kind: ``"positional-only"``, ``"either"``, ``"keyword-only"``, ``"args"`` or ``"kwargs"``.
        required: whether it has no default.
        schema: the JSON schema of its value, of ``*args`` and ``**kwargs`` that of each.
    """

    name: str
    kind: str
    required: bool
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ServiceSchemas:
    """The JSON schemas of one service.

    Attributes:
        parameters: the parameters; ``None``: the function has no signature.
        result: the schema of the result, of a stream that of its items; empty: any value.
        errors: the schemas of the fields of the errors, by code.
        definitions: what the schemas refer to as ``#/$defs/NAME``.
        unresolved: annotations that name what is not found, one sentence for each.
        undescribed: annotations that have no JSON schema, one sentence for each.
    """

    parameters: tuple[ParameterSchema, ...] | None
    result: dict[str, Any]
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    definitions: dict[str, Any] = field(default_factory=dict)
    unresolved: tuple[str, ...] = ()
    undescribed: tuple[str, ...] = ()


def callers_signature(schema: ServiceSchema) -> inspect.Signature | None:
    """Return the signature of a service without what the server fills in; ``None``: the function has none."""
    if schema.injections is not None:
        return schema.injections.signature
    try:
        return signature_for_callers(schema.func_ptr)
    except (TypeError, ValueError):
        return None


def service_schemas(schema: ServiceSchema) -> ServiceSchemas:
    """Return the JSON schemas of a service. A value whose annotation is missing or has no schema may be anything."""
    signature = callers_signature(schema)
    parameters = () if signature is None else tuple(signature.parameters.values())
    found = _Annotations(schema.name)
    for parameter in parameters:
        if parameter.name not in schema.uploads:
            annotation = partial(resolved_annotation, schema.func_ptr, parameter.name)
            found.add(("argument", parameter.name), annotation, "validation", f"the argument {parameter.name!r}")
        else:
            annotation = partial(_item_of_upload, schema, parameter.name)
            found.add(("argument", parameter.name), annotation, "validation", f"the items of {parameter.name!r}")
    found.add(("result", ""), partial(_result_of, schema), "serialization", "the result")
    for error in schema.raises:
        for name in (each.name for each in fields_of(error)):
            annotation = partial(_field_of, error, name)
            found.add((f"error {error.code}", name), annotation, "serialization", f"the field {error.code}.{name}")
    schemas, definitions = found.described()
    return ServiceSchemas(
        None if signature is None else tuple(_parameter(each, schemas, schema.uploads) for each in parameters),
        schemas.get(("result", ""), {}),
        {error.code: _fields_schema(error, schemas) for error in schema.raises},
        definitions,
        tuple(found.unresolved),
        tuple(found.undescribed),
    )


def arguments_schema(schemas: ServiceSchemas) -> Mapping[str, Any] | None:
    """Return the JSON schema of the arguments: an object with a property for each parameter that has a name.

    ``None``: the function has no signature, or its schema is too long to be sent.
    """
    if schemas.parameters is None:
        return None
    named = [each for each in schemas.parameters if each.kind not in ("args", "kwargs")]
    whole: dict[str, Any] = {
        "type": "object",
        "properties": {each.name: each.schema for each in named},
        "required": [each.name for each in named if each.required],
        "additionalProperties": any(each.kind == "kwargs" for each in schemas.parameters),
    }
    return closed(whole, schemas.definitions)


def closed(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema with the definitions that it needs; ``None`` if it is too long to be sent."""
    needed: dict[str, Any] = {}
    found = list(_references(schema))
    while found:
        name = found.pop()
        if name in definitions and name not in needed:
            needed[name] = definitions[name]
            found += _references(definitions[name])
    whole = {**schema, "$defs": dict(sorted(needed.items()))} if needed else dict(schema)
    try:
        return whole if len(json.dumps(whole, allow_nan=False)) <= _LENGTH_MAX else None
    except (TypeError, ValueError, RecursionError):
        return None


class _Annotations:
    """The annotations of one service, which are made JSON schemas together."""

    def __init__(self, service: str) -> None:
        self.unresolved: list[str] = []
        self.undescribed: list[str] = []
        self._service = service
        self._inputs: list[tuple[Any, _Mode, Any]] = []
        self._what: dict[Any, str] = {}

    def add(self, key: Any, annotation: Callable[[], Any], mode: _Mode, what: str) -> None:
        """Add an annotation, if it can be resolved and pydantic can use it."""
        from pydantic import TypeAdapter

        try:
            found = annotation()
        except RegistrationError as error:
            self.unresolved.append(str(error))
            return
        if found is inspect.Parameter.empty:
            return
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(found)
            self._inputs.append((key, mode, adapter.core_schema))
            self._described(self._inputs[-1:])  # whatever the classes of a user raise, they raise it here
            self._what[key] = what
        except Exception as error:  # noqa: BLE001 - see above; a service needs no schema
            self._inputs = [each for each in self._inputs if each[0] != key]
            self._note(error, what)

    def _note(self, error: Exception, what: str) -> None:
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        if getattr(error, "code", None) in ("class-not-fully-defined", "undefined-annotation"):
            self.unresolved.append(f"{what}: {why}")
        else:
            self.undescribed.append(f"{what} has no JSON schema: {why}")

    def described(self) -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
        """Return the schemas by their keys, and the definitions that they refer to."""
        if not self._inputs:
            return {}, {}
        for each in self._inputs:
            if why := self._described([each])[2]:
                self.undescribed.append(f"a part of {self._what[each[0]]} has no JSON schema: {why}")
        return with_modes_joined(*self._described(self._inputs)[:2])

    def _described(self, inputs: list[tuple[Any, _Mode, Any]]) -> tuple[dict[Any, dict[str, Any]], dict[str, Any], str]:
        from rabibridge_core._server.schema_generator import SchemaGenerator

        generator = SchemaGenerator(ref_template=f"{_POINTER}{{model}}")
        schemas, found = generator.generate_definitions(inputs)
        definitions: dict[str, Any] = {str(name): each for name, each in found.items()}
        return {key: dict(each) for (key, _), each in schemas.items()}, definitions, generator.undescribed


def _result_of(schema: ServiceSchema) -> Any:
    found = result_annotation(schema.func_ptr)
    return _item(found) if schema.streams else found


def _item_of_upload(schema: ServiceSchema, name: str) -> Any:
    return _item(resolved_annotation(schema.func_ptr, name))


def _item(annotation: Any) -> Any:
    found = item_annotation(annotation)
    return inspect.Parameter.empty if found is None else found


def _field_of(error: type[ServiceError], name: str) -> Any:
    return hints_of(error).get(name, inspect.Parameter.empty)


def _parameter(parameter: inspect.Parameter, schemas: Mapping[Any, Any], uploads: Iterable[str]) -> ParameterSchema:
    described = dict(schemas.get(("argument", parameter.name), {}))
    required = parameter.default is inspect.Parameter.empty and "VAR" not in parameter.kind.name
    if parameter.name in uploads:
        described = {"type": "array", "items": described, "description": "fed by the caller, item by item"}
    elif parameter.default is not inspect.Parameter.empty and _is_json(parameter.default):
        from rabibridge_core._server.schema_generator import without_secret_default

        described = without_secret_default({**described, "default": parameter.default})
    return ParameterSchema(parameter.name, _KINDS[parameter.kind], required, described)


def _fields_schema(error: type[ServiceError], schemas: Mapping[Any, Any]) -> dict[str, Any]:
    properties = {each.name: schemas.get((f"error {error.code}", each.name), {}) for each in fields_of(error)}
    return {"type": "object", "title": error.__name__, "properties": properties, "required": list(properties)}


def _references(schema: Any) -> Iterable[str]:
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith(_POINTER):
            yield reference.removeprefix(_POINTER)
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _is_json(value: object) -> bool:
    if isinstance(value, int | float | str) and type(value) not in (bool, int, float, str):
        return False  # a member of an Enum, whose class the caller's program need not have
    try:
        return len(json.dumps(value, allow_nan=False)) <= _DEFAULT_MAX
    except (TypeError, ValueError, RecursionError):
        return False
