"""Describes services for people and programs: signature, docstring, limits, and JSON schemas."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from rabibridge_core._reporting.error_text import printable
from rabibridge_core._server.json_schemas import arguments_schema, callers_signature, result_schema

if TYPE_CHECKING:
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["describe"]

_PLAIN = (int, float, str, bool, bytes, type(None))
"""Types of defaults that are shown as they are: others may hold anything, such as an address in memory."""
_SIGNATURE_MAX = 1000
_DOC_MAX = 4000


def describe(schema: ServiceSchema) -> dict[str, Any]:
    """Return what a client is told about a service. It may take long: annotations are resolved, pydantic is asked."""
    return {
        "name": schema.name,
        "kind": "async" if schema.is_async else "sync",
        "signature": _signature(schema),
        "doc": printable((inspect.getdoc(schema.func_ptr) or "")[:_DOC_MAX], lines=True)[:_DOC_MAX],
        "schema": arguments_schema(schema),
        "result_schema": result_schema(schema),
        "limits": {
            "fetch_size": schema.concurrency,
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
            "remote_traceback": schema.remote_traceback,
            "fair": schema.fair,
            "raises": [error.code for error in schema.raises],
        },
        "queues": [
            {"name": queue.name, "class": class_name, "size": queue.queue_size}
            for queue, class_name in zip(schema.queues, [name for name, _ in schema.classes] or [""], strict=True)
        ],
    }


def _signature(schema: ServiceSchema) -> str:
    signature = callers_signature(schema)
    if signature is None:
        return "(...)"
    parameters = [
        each.replace(
            annotation=_shown(each.annotation),
            default=each.default if each.default is each.empty or type(each.default) in _PLAIN else _Shown("..."),
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
