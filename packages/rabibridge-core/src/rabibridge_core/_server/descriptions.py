"""Describes services for people and programs: signature, docstring, limits, and JSON schemas."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from rabibridge_core._reporting.error_text import printable
from rabibridge_core._services.injection import signature_for_callers

if TYPE_CHECKING:
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["describe"]

_SIGNATURE_MAX = 1000
_DOC_MAX = 4000
_SCHEMA_MAX = 32_000
"""Longest JSON schema that is sent, in characters of its text."""


def describe(schema: ServiceSchema) -> dict[str, Any]:
    """Return what a client is told about a service. It may take long: annotations are resolved, pydantic is asked."""
    return {
        "name": schema.name,
        "kind": "async" if schema.is_async else "sync",
        "signature": _signature(schema),
        "doc": printable_block(inspect.getdoc(schema.func_ptr) or "")[:_DOC_MAX],
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
            "raises": [error.code for error in schema.raises],
        },
        "queues": [
            {"name": queue.name, "class": class_name, "size": queue.queue_size}
            for queue, class_name in zip(schema.queues, [name for name, _ in schema.classes] or [""], strict=True)
        ],
    }


def _signature(schema: ServiceSchema) -> str:
    try:
        return printable(str(signature_for_callers(schema.func_ptr)))[:_SIGNATURE_MAX]
    except (TypeError, ValueError):
        return "(...)"


def printable_block(text: str) -> str:
    """Return a text of several lines without characters that control a terminal."""
    return "\n".join(printable(line) for line in text[:_DOC_MAX].splitlines())
