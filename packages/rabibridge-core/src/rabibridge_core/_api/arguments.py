"""Checks the arguments of clients and servers that are not settings, where they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings import Settings
from rabibridge_core.settings.urls import is_encodable

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_base_arguments", "check_namespace_argument"]

_TRANSPORT_HAS = ("state", "last_error", "connect", "close")


def check_base_arguments(
    *, settings: object, accept: object, transport: object, name: object, namespace: object
) -> None:
    """Check what a client or server was given.

    Raises:
        ConfigurationError: an argument has a wrong type, or contradicts another.
    """
    if settings is not None and not isinstance(settings, Settings):
        raise _wrong("settings", settings, "what load_settings() returns, or None to collect them")
    if accept is not None and not _is_iterable(accept):
        raise _wrong("accept", accept, "a list of names of serializers or of serializers, or None for the usual ones")
    if transport is not None and (missing := _missing(transport, _TRANSPORT_HAS)):
        raise _wrong("transport", transport, f"a rabibridge_core.transport.Transport, and has no {missing[0]!r}")
    if name is not None and not _is_name(name):
        raise _wrong("name", name, "a text of 1 to 255 bytes in UTF-8, or None for one of class, host and process id")
    check_namespace_argument(namespace, settings=settings, transport=transport)


def check_namespace_argument(namespace: object, *, settings: object, transport: object) -> None:
    """Check that a namespace was given where it has an effect.

    Raises:
        ConfigurationError: the settings or the transport, which have theirs, were given as well.
    """
    if namespace is not None and (settings is not None or transport is not None):
        raise ConfigurationError(
            "namespace= has no effect together with settings= or transport=, which have theirs: give it to "
            "load_settings(), or to what makes the transport"
        )


def _is_name(name: object) -> bool:
    # RabbitMQ closes a connection whose name does not fit into the first frame, without a word.
    return isinstance(name, str) and bool(name.strip()) and is_encodable(name) and len(name.encode()) <= 255


def _is_iterable(value: object) -> bool:
    return hasattr(value, "__iter__")


def _missing(value: object, names: Iterable[str]) -> list[str]:
    return [name for name in names if not hasattr(value, name)]


def _wrong(name: str, value: object, allowed: str) -> ConfigurationError:
    return ConfigurationError(f"the argument {name}= is {repr(value)[:80]}; it must be {allowed}")
