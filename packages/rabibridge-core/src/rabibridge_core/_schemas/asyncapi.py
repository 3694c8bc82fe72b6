"""Writes AsyncAPI 3 documents: the same services as queues, messages and replies, for people who speak the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.naming import queue_name, routing_key
from rabibridge_core._schemas.definitions import with_shared_definitions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rabibridge_core._schemas.services import DescribedService

__all__ = ["asyncapi_document"]

_POINTER = "#/components/schemas/"
_MSGPACK = "application/msgpack"
_HEADERS = {
    "type": "object",
    "properties": {"rb-timeout": {"type": "integer", "description": "milliseconds that the call may take"}},
}
_ERROR_HEADERS = {
    "type": "object",
    "properties": {
        "rb-error": {"type": "string", "description": "the sort of failure"},
        "rb-error-code": {"type": "string", "description": "the code of an error that the service raises on purpose"},
    },
}


def asyncapi_document(services: Iterable[DescribedService], title: str, version: str) -> dict[str, Any]:
    """Return the services as an AsyncAPI document, as seen from the workers: they receive requests and reply."""
    described, definitions = with_shared_definitions(services, _POINTER)
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for service in described:
        key = f"{service.kind}_{service.name}"
        channels[key] = _channel(service)
        channels[f"{key}:reply"] = _reply_channel(service)
        operations[key] = _operation(service, key)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version},
        "defaultContentType": _MSGPACK,
        "channels": channels,
        "operations": operations,
        "components": {"schemas": definitions},
    }


def _channel(service: DescribedService) -> dict[str, Any]:
    is_async = service.kind == "async"
    queue = queue_name(service.name, is_async=is_async)
    return {
        "address": routing_key(service.name, "async" if is_async else "sync"),
        "title": service.name,
        "description": f"Requests are published to the exchange rpc with this routing key, and wait in queue {queue}.",
        "messages": {"request": {"contentType": _MSGPACK, "headers": _HEADERS, "payload": _request(service)}},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": "rpc", "type": "direct", "durable": True, "autoDelete": False},
                "bindingVersion": "0.3.0",
            }
        },
    }


def _reply_channel(service: DescribedService) -> dict[str, Any]:
    if service.streams:
        result: dict[str, Any] = {"type": "array", "items": service.result}
        about = "Some items of the stream; a usual reply, with null as the result, ends it."
    else:
        result, about = _pair(0, service.result), "0 and the result."
    failure = {"contentType": _MSGPACK, "headers": _ERROR_HEADERS, "payload": _pair(1, {"type": "string"})}
    codes = ", ".join(each.code for each in service.errors)
    failure["description"] = "1 and the traceback. " + (f"Codes of errors on purpose: {codes}." if codes else "")
    return {
        "address": None,
        "messages": {
            "result": {"contentType": _MSGPACK, "description": about, "payload": result},
            "failure": failure,
        },
    }


def _operation(service: DescribedService, key: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{key}"},
        "messages": [{"$ref": f"#/channels/{key}/messages/request"}],
        "reply": {
            "address": {"location": "$message.header#/reply_to", "description": "the property reply_to"},
            "channel": {"$ref": f"#/channels/{key}:reply"},
            "messages": [{"$ref": f"#/channels/{key}:reply/messages/{name}"} for name in ("result", "failure")],
        },
        "x-rabibridge": {"limits": dict(service.limits), "streams": service.streams},
    }
    if service.doc:
        operation |= {"summary": service.doc.partition("\n")[0], "description": service.doc}
    return operation


def _request(service: DescribedService) -> dict[str, Any]:
    """Return the schema of the body of a request: the positional arguments, and those by name."""
    if service.parameters is None:
        return {"type": "array", "items": [{"type": "array"}, {"type": "object"}], "minItems": 2}
    by_kind = {kind: [each for each in service.parameters if each.kind == kind] for kind in _KINDS}
    places = [each.schema for each in (*by_kind["positional-only"], *by_kind["either"])]
    names = [*by_kind["either"], *by_kind["keyword-only"]]
    more, others = by_kind["args"], by_kind["kwargs"]
    positional: dict[str, Any] = {"type": "array", "additionalItems": more[0].schema if more else False}
    if places:
        positional["items"] = places
    else:
        positional = {"type": "array", "items": more[0].schema} if more else {"type": "array", "maxItems": 0}
    keywords = {
        "type": "object",
        "properties": {each.name: each.schema for each in names},
        "required": [each.name for each in by_kind["keyword-only"] if each.required],
        "additionalProperties": others[0].schema if others else False,
    }
    return {"type": "array", "items": [positional, keywords], "minItems": 2}


_KINDS = ("positional-only", "either", "keyword-only", "args", "kwargs")


def _pair(first: int, second: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": [{"const": first}, second], "minItems": 2, "maxItems": 2}
