"""Describes services for people and programs: signature, docstring, limits, and JSON schemas."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from rabibridge_core._reporting.error_text import printable
from rabibridge_core._server.json_schemas import arguments_schema, callers_signature, closed, service_schemas

if TYPE_CHECKING:
    from collections.abc import Container

    from rabibridge_core._server.json_schemas import ParameterSchema, ServiceSchemas
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["describe", "limits_of"]

_PLAIN = (int, float, str, bool, bytes, type(None))
"""Types of defaults that are shown as they are: others may hold anything, such as an address in memory."""
_SIGNATURE_MAX = 1000
_DOC_MAX = 4000


def describe(schema: ServiceSchema) -> dict[str, Any]:
    """Return what a client is told about a service. It may take long: annotations are resolved, pydantic is asked."""
    schemas = service_schemas(schema)
    return {
        "name": schema.name,
        "kind": "async" if schema.is_async else "sync",
        "signature": _signature(schema, _secrets(schemas)),
        "doc": printable((inspect.getdoc(schema.func_ptr) or "")[:_DOC_MAX], lines=True)[:_DOC_MAX],
        "schema": arguments_schema(schemas),
        "result_schema": closed(schemas.result, schemas.definitions) or None,
        "parameters": [_told(each, schemas) for each in schemas.parameters or ()],
        "errors": [
            {"code": code, "schema": closed(fields, schemas.definitions)} for code, fields in schemas.errors.items()
        ],
        "limits": limits_of(schema),
        "queues": [
            {"name": queue.name, "class": class_name, "size": queue.queue_size}
            for queue, class_name in zip(schema.queues, [name for name, _ in schema.classes] or [""], strict=True)
        ],
    }


def limits_of(schema: ServiceSchema) -> dict[str, Any]:
    """Return the limits of a service as clients are told them."""
    return {
        "fetch_size": schema.concurrency if schema.bounds is None else "auto({}, {})".format(*schema.bounds),
        "queue_size": schema.queue_size,
        "timeout": schema.timeout,
        "delivery": schema.delivery,
        "idempotent": schema.idempotent,
        "redelivery_limit": schema.redelivery_limit,
        "queue_type": schema.queue_type,
        "fetch_ahead": schema.fetch_ahead,
        "validate": schema.validate,
        "streams": schema.streams,
        "resumable": schema.resumable,
        "uploads": list(schema.uploads),
        "executor": schema.executor,
        "run_timeout": schema.run_timeout,
        "slow_call": schema.slow_call,
        "deadline_admission": schema.deadline_admission,
        "max_wait": schema.max_wait,
        "remote_traceback": schema.remote_traceback,
        "fair": schema.fair,
        "rate": schema.rate,
        "raises": [error.code for error in schema.raises],
    }


def _told(parameter: ParameterSchema, schemas: ServiceSchemas) -> dict[str, Any]:
    """Return a parameter; the schema of one that has a name is among those of the arguments."""
    told: dict[str, Any] = {"name": parameter.name, "kind": parameter.kind}
    if parameter.kind in ("args", "kwargs"):
        told["schema"] = closed(parameter.schema, schemas.definitions)
    return told


def _secrets(schemas: ServiceSchemas) -> list[str]:
    return [each.name for each in schemas.parameters or () if each.schema.get("writeOnly")]


def _signature(schema: ServiceSchema, secrets: Container[str]) -> str:
    signature = callers_signature(schema)
    if signature is None:
        return "(...)"
    parameters = [
        each.replace(
            annotation=_shown(each.annotation),
            default=each.default
            if each.default is each.empty or (type(each.default) in _PLAIN and each.name not in secrets)
            else _Shown("..."),
        )
        for each in signature.parameters.values()
    ]
    signature = signature.replace(parameters=parameters, return_annotation=_shown(signature.return_annotation))
    return printable(str(signature))[:_SIGNATURE_MAX]


class _Shown:
    """Is shown as its text: without quotes, and the same in every process."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _shown(annotation: object) -> object:
    return _Shown(annotation) if isinstance(annotation, str) else annotation
