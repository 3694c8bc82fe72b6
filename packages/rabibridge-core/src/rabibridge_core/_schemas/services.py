"""What is described of one service, wherever it comes from."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

from rabibridge_core._protocol.naming import check_service_name
from rabibridge_core._reporting.error_text import printable
from rabibridge_core._schemas.cleaning import clean_schema
from rabibridge_core._server.descriptions import limits_of
from rabibridge_core._server.json_schemas import service_schemas
from rabibridge_core.errors import ConfigurationError, RegistrationError

if TYPE_CHECKING:
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.introspection import ServiceStatus

__all__ = ["DescribedError", "DescribedParameter", "DescribedService", "of_function", "of_worker"]

PARAMETER_KINDS = ("positional-only", "either", "keyword-only", "args", "kwargs")
TOLD_LIMITS = (
    "queue_size", "timeout", "delivery", "idempotent", "redelivery_limit", "run_timeout", "resumable", "validate",
)  # fmt: skip
"""The limits that a caller may want to know."""
_DOC_MAX = 4000


@dataclass(frozen=True, slots=True)
class DescribedParameter:
    """A parameter that callers give: its name, kind, JSON schema, and whether it must be given or can be fed."""

    name: str
    kind: str
    required: bool
    schema: dict[str, Any]
    upload: bool = False


@dataclass(frozen=True, slots=True)
class DescribedError:
    """An error that a service raises on purpose: its code, and the JSON schema of its fields."""

    code: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedService:
    """One service.

    Attributes:
        name: its name.
        kind: ``"async"`` or ``"sync"``.
        doc: its docstring.
        parameters: its parameters; ``None``: they are not known.
        result: the JSON schema of the result, of a stream that of each item; empty: any value.
        streams: whether it gives items one by one.
        errors: what it raises on purpose.
        limits: those that matter to callers.
        classes: the classes of criticality, the most important first.
        definitions: what the schemas refer to as ``#/$defs/NAME``.
    """

    name: str
    kind: str
    doc: str = ""
    parameters: tuple[DescribedParameter, ...] | None = ()
    result: dict[str, Any] = field(default_factory=dict)
    streams: bool = False
    errors: tuple[DescribedError, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    definitions: Mapping[str, Any] = field(default_factory=dict)


def of_function(schema: ServiceSchema) -> tuple[DescribedService, tuple[str, ...]]:
    """Return what the function of a service says, and what of it could not be described.

    Raises:
        RegistrationError: an annotation names something that is not found.
    """
    found = service_schemas(schema)
    if found.unresolved:
        raise RegistrationError("; ".join(found.unresolved))
    parameters = found.parameters
    service = DescribedService(
        name=schema.name,
        kind="async" if schema.is_async else "sync",
        doc=_doc(inspect.getdoc(schema.func_ptr)),
        parameters=None
        if parameters is None
        else tuple(
            DescribedParameter(
                each.name, each.kind, each.required, clean_schema(each.schema), each.name in schema.uploads
            )
            for each in parameters
        ),
        result=clean_schema(found.result),
        streams=schema.streams,
        errors=tuple(DescribedError(code, clean_schema(fields)) for code, fields in sorted(found.errors.items())),
        limits=_limits(limits_of(schema)),
        classes=tuple(name for name, _ in schema.classes),
        definitions={name: clean_schema(each) for name, each in found.definitions.items()},
    )
    return service, found.undescribed


def of_worker(status: ServiceStatus) -> DescribedService:
    """Return what workers have told about a service.

    Raises:
        ConfigurationError: no service can have such a name.
    """
    definitions = _Definitions()
    limits = status.limits
    uploads = limits.get("uploads")
    errors = [_error(each, definitions) for each in status.errors]
    return DescribedService(
        name=check_service_name(status.name),
        kind="async" if status.kind == "async" else "sync",
        doc=_doc(status.doc),
        parameters=_parameters(status, definitions, uploads if isinstance(uploads, list) else []),
        result=definitions.without_own(status.result_schema),
        streams=limits.get("streams") is True,
        errors=tuple(sorted((each for each in errors if each is not None), key=lambda each: each.code)),
        limits=_limits(limits),
        classes=tuple(queue.class_name for queue in status.queues if queue.class_name),
        definitions=definitions.found,
    )


class _Definitions:
    """Takes the definitions out of schemas: of one service, equal names mean the same."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def without_own(self, schema: object) -> dict[str, Any]:
        cleaned = clean_schema(schema)
        own = schema.get("$defs") if isinstance(schema, Mapping) else None
        if isinstance(own, dict):
            self.found.update({str(name): clean_schema(each) for name, each in own.items()})
        return cleaned


def _parameters(
    status: ServiceStatus, definitions: _Definitions, uploads: list[Any]
) -> tuple[DescribedParameter, ...] | None:
    if status.schema is None:
        return None
    whole = definitions.without_own(status.schema)
    properties, required = whole.get("properties", {}), whole.get("required", [])
    told = status.parameters or tuple({"name": name, "kind": "either"} for name in properties)
    found: list[DescribedParameter] = []
    for each in told:
        name, kind = each.get("name"), each.get("kind")
        if not isinstance(name, str) or kind not in PARAMETER_KINDS or any(name == other.name for other in found):
            return None
        variadic = kind in ("args", "kwargs")
        schema = definitions.without_own(each.get("schema")) if variadic else properties.get(name, {})
        found.append(DescribedParameter(name, str(kind), not variadic and name in required, schema, name in uploads))
    return tuple(found)


def _error(told: Mapping[str, Any], definitions: _Definitions) -> DescribedError | None:
    code = told.get("code")
    return DescribedError(code, definitions.without_own(told.get("schema"))) if is_code(code) else None


def is_code(code: object) -> TypeGuard[str]:
    """Tell whether an error can have this code."""
    try:
        return len(check_service_name(code)) <= 100
    except ConfigurationError:
        return False


def _doc(text: str | None) -> str:
    return printable((text or "")[:_DOC_MAX], lines=True)[:_DOC_MAX]


def _limits(limits: Mapping[str, Any]) -> dict[str, Any]:
    return {name: limits[name] for name in TOLD_LIMITS if isinstance(limits.get(name), int | float | str)}
