"""The names of queues and routing keys, shared by callers and workers.

Keys of the two kinds begin with ``async_`` and ``sync_``, as in RabiBridge 0.1.2. Keys for callers that do not know the
kind begin with ``any:``. No service name contains a colon, so that no name makes a key of one sort equal to one of
another sort. The keys and the queue of a class of criticality are those of its service, a colon, and the name of the
class; the first class has those of the service as well.

In a namespace, the names of queues on the broker begin with the namespace and a colon; routing keys stay as they are.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias, TypeGuard

from rabibridge_core.errors import ConfigurationError

__all__ = [
    "FunctionKind",
    "check_namespace",
    "check_service_name",
    "in_namespace",
    "is_class_name",
    "of_class",
    "queue_name",
    "routing_key",
    "routing_keys",
    "service_of_queue",
    "service_of_routing_key",
    "split_class",
    "split_namespace",
]

FunctionKind: TypeAlias = Literal["async", "sync", "any"]

_ANY_PREFIX = "any:"
_SERVICE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_CLASS_NAME = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_NAMESPACE = re.compile(r"(?!rpc|amq)[A-Za-z0-9_-]{1,32}")
_NAMESPACED = re.compile(rf"(?P<namespace>{_NAMESPACE.pattern}):(?P<name>rpc.*)", re.DOTALL)


def check_service_name(name: object) -> str:
    """Return ``name`` if it is a valid service name: 1 to 200 of ``A-Z a-z 0-9 _ . -``.

    Raises:
        ConfigurationError: it is not.
    """
    if not isinstance(name, str) or _SERVICE_NAME.fullmatch(name) is None:
        shown = repr(name)
        raise ConfigurationError(
            f"{shown[:80]} is not a service name; use 1 to 200 of the characters A-Z, a-z, 0-9, '_', '.' and '-'"
        )
    return name


def check_namespace(name: str) -> str:
    """Return ``name`` if it can be a namespace, or is empty: 1 to 32 of ``A-Z a-z 0-9 _ -``, not ``rpc…`` or ``amq…``.

    Regular expressions can hold all of these characters as they are, and no queue without a namespace has such a name.

    Raises:
        ValueError: it cannot.
    """
    if name and _NAMESPACE.fullmatch(name) is None:
        raise ValueError(name)
    return name


def in_namespace(name: str, namespace: str) -> str:
    """Return the name of a queue or an exchange on the broker; without a namespace it stays as it is."""
    return f"{namespace}:{name}" if namespace else name


def split_namespace(name: str) -> tuple[str, str]:
    """Return the namespace of the name of a queue or an exchange, empty if it has none, and the name without it."""
    found = _NAMESPACED.fullmatch(name)
    return ("", name) if found is None else (found["namespace"], found["name"])


def queue_name(name: str, *, is_async: bool) -> str:
    """Return the name of the queue of a service."""
    return f"rpc_async_{name}" if is_async else f"rpc_sync_{name}"


def routing_keys(name: str, *, is_async: bool) -> tuple[str, str]:
    """Return the routing keys of a service: by its kind, and for callers that do not know its kind."""
    return (f"async_{name}" if is_async else f"sync_{name}", _ANY_PREFIX + name)


def routing_key(name: str, kind: FunctionKind) -> str:
    """Return the routing key for calls of a service.

    Raises:
        ConfigurationError: the name is not a service name, or the kind is unknown.
    """
    check_service_name(name)
    if kind == "any":
        return _ANY_PREFIX + name
    if kind not in ("async", "sync"):
        raise ConfigurationError(f"ftype is {kind!r}; use 'async', 'sync', or 'any' if the kind is not known")
    return f"{kind}_{name}"


def is_class_name(name: object) -> TypeGuard[str]:
    """Tell whether ``name`` can be the name of a class of criticality: 1 to 32 of ``A-Z a-z 0-9 _ . -``.

    With it, the longest routing key, behind ``cancel:``, has the 255 bytes that AMQP allows.
    """
    return isinstance(name, str) and _CLASS_NAME.fullmatch(name) is not None


def of_class(key: str, class_name: str) -> str:
    """Return the queue name or routing key of a class, from that of its service."""
    return f"{key}:{class_name}"


def split_class(key: str) -> tuple[str, str]:
    """Return the queue name or routing key of the service, and the class that is named in ``key``; empty: none."""
    at = key.find(":", len(_ANY_PREFIX) if key.startswith(_ANY_PREFIX) else 0)
    return (key, "") if at < 0 else (key[:at], key[at + 1 :])


_QUEUE_PREFIXES = tuple(queue_name("", is_async=is_async) for is_async in (True, False))
_KEY_PREFIXES = (*(routing_keys("", is_async=is_async)[0] for is_async in (True, False)), _ANY_PREFIX)


def service_of_queue(queue: str) -> str:
    """Return the name of the service that :func:`queue_name` made this queue name from.

    It may have a class and be in a namespace.
    """
    return _without_prefix(split_namespace(queue)[1], _QUEUE_PREFIXES)


def service_of_routing_key(key: str) -> str:
    """Return the name of the service that :func:`routing_key` made this key from, also with a class.

    Any other text is returned as it is.
    """
    return _without_prefix(key, _KEY_PREFIXES)


def _without_prefix(text: str, prefixes: tuple[str, ...]) -> str:
    for prefix in prefixes:
        if text.startswith(prefix):
            return text[len(prefix) :].partition(":")[0]
    return text
