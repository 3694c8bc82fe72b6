"""The errors of serializers: they name the format, the type and the place of a value, and never quote the data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, ItemsView, Iterator, KeysView, ValuesView

from rabibridge_core.errors import SerializationError

__all__ = ["MalformedValueError", "SerializerFaultError", "checked_bytes", "undecodable", "unencodable"]


class SerializerFaultError(SerializationError):
    """A serializer broke its protocol, whatever the value was."""


class MalformedValueError(ValueError):
    """A value in received bytes is not what its tag says. The message names the tag, and never quotes the data."""


def unencodable(name: str, value: object, error: BaseException) -> SerializationError:
    """Return the error of a value that could not be encoded."""
    # These errors of these libraries name the type or the limit; the message of any other error may quote the value.
    plain = name in ("msgpack", "json") and type(error) in (TypeError, ValueError, OverflowError, RecursionError)
    detail = f" ({str(error)[:150]})" if plain else ""
    return SerializationError(
        f"{name} cannot encode a value of type {type(value).__qualname__}: {type(error).__name__}{detail}{_hint(value)}"
    )


def _hint(value: object) -> str:
    """Say what was probably meant instead of a value that cannot travel."""
    if isinstance(value, Coroutine):
        return ". Await it first"
    if isinstance(value, Iterator | AsyncIterator):
        return ". An iterator can be one of the arguments of client.call and client.stream; anywhere else, give a list"
    return ". Give a list" if isinstance(value, range | KeysView | ValuesView | ItemsView) else ""


def undecodable(name: str, error: BaseException) -> SerializationError:
    """Return the error of bytes that could not be decoded."""
    detail = str(error) if isinstance(error, MalformedValueError) else type(error).__name__
    return SerializationError(f"the received bytes cannot be decoded as {name}: {detail}")


def checked_bytes(name: str, body: object) -> bytes:
    """Return what the serializer of that name has returned, if it is bytes.

    Raises:
        SerializerFaultError: it is not.
    """
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    raise SerializerFaultError(
        f"the serializer {name!r} returned {type(body).__qualname__} from dumps(); it must return bytes"
    )
