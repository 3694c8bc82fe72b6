"""Declared errors on the wire: code and fields of a ServiceError as headers, and back to a class that is known here.

The headers come with those that every failure has, so that peers that do not know them see a failure of the usual form.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._codec.json_serializer import JsonSerializer
from rabibridge_core._codec.msgpack_serializer import MsgpackSerializer
from rabibridge_core._codec.places import find_unencodable
from rabibridge_core._protocol.error_fields import default_of, is_prepared, restorers_of
from rabibridge_core._protocol.headers import ERROR_CODE, ERROR_FIELDS
from rabibridge_core.errors import (
    ContentRejectedError,
    RabiBridgeError,
    RemoteExecutionError,
    SerializationError,
    ServiceError,
)
from rabibridge_core.errors._declared import declared_class, fields_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rabibridge_core._codec.serializers import Serializer
    from rabibridge_core.transport import Headers, HeaderValue, Reply

__all__ = [
    "FIELDS_MAX",
    "as_declared",
    "as_listed",
    "declared_headers",
    "is_slow_at_first",
    "misfit_of",
    "without_fields",
]

FIELDS_MAX: Final = 16 * 1024
"""Largest fields of an error, in bytes: they travel as a header, and all headers must fit into one frame."""

_JSON, _MSGPACK = JsonSerializer(), MsgpackSerializer()
_UNSENDABLE: Final = ""
"""Stands for fields that cannot be sent."""


def declared_headers(
    error: BaseException, content_type: str | None, unsendable: Callable[[BaseException], None]
) -> dict[str, HeaderValue]:
    """Return the headers that carry a declared error; none for any other exception. It raises nothing.

    A RemoteExecutionError with a code is one, too: a handler lets the error of a service that it has called through,
    whose class its own program does not know.

    Args:
        error: what the handler raised.
        content_type: that of the reply: the fields of JSON replies are JSON, all others msgpack.
        unsendable: called with the error of fields that cannot be sent; the code is sent without them then.
    """
    try:
        if not issubclass(type(error), RemoteExecutionError):
            return {}
        code, fields = error.code, error.fields  # type: ignore[attr-defined] # pyright: ignore
        if not isinstance(code, str) or not code:
            return {}
        if vars(error).get("_fields", fields) is None:  # the worker that it came from could not send them
            return {ERROR_CODE: code, ERROR_FIELDS: _UNSENDABLE}
        return {ERROR_CODE: code, ERROR_FIELDS: _encoded(fields, content_type)} if fields else {ERROR_CODE: code}
    except BaseException as cannot:  # noqa: BLE001 - fields and their values may have code of their own
        unsendable(cannot)
        code = type(error).code  # type: ignore[attr-defined] # pyright: ignore
        return {ERROR_CODE: code, ERROR_FIELDS: _UNSENDABLE} if isinstance(code, str) and code else {}


def _encoded(fields: dict[str, Any], content_type: str | None) -> str | bytes:
    is_json = content_type == _JSON.content_type
    serializer = _JSON if is_json else _MSGPACK
    try:
        encoded = serializer.dumps(fields)
    except SerializationError as error:
        found = find_unencodable(lambda part: _refusal(serializer, part), fields, "fields")
        raise (error if found is None else SerializationError(f"{found[0]}: {found[1]}")) from error
    if len(encoded) > FIELDS_MAX:
        raise SerializationError(f"the fields take {len(encoded)} bytes; an error may have {FIELDS_MAX}")
    return encoded.decode() if is_json else encoded


def without_fields(reply: Reply) -> Reply:
    """Return the reply without the fields of a declared error, where its headers are too large to be sent.

    Raises:
        ContentRejectedError: it has none.
    """
    headers = dict(reply.headers or {})
    if not headers.get(ERROR_FIELDS):
        raise ContentRejectedError("the headers of the reply are too large")
    return reply._replace(headers={**headers, ERROR_FIELDS: _UNSENDABLE})


def _refusal(serializer: Serializer, value: object) -> str | None:
    try:
        serializer.dumps(value)
    except SerializationError as error:
        return str(error)  # not the error, which would be a cycle of frames
    return None


def is_slow_at_first(headers: Headers) -> bool:
    """Tell whether pydantic may have to be imported for a declared error, which no event loop should wait for."""
    if ERROR_CODE not in headers or "pydantic" in sys.modules:
        return False
    code = headers[ERROR_CODE]
    cls = declared_class(code) if isinstance(code, str) else None
    return cls is not None and not is_prepared(cls)


def as_declared(error: RemoteExecutionError, headers: Headers) -> RemoteExecutionError:
    """Return what a failure is by its headers: a declared error, if it is one and its class is known and fits.

    Otherwise the error itself, with the code and the fields as far as they can be read, and a note that says why its
    class is not used, if one is known.
    """
    code = headers.get(ERROR_CODE)
    if not isinstance(code, str) or not code:
        return error
    error.code = code
    try:
        error.__dict__["_fields"] = None  # until they are read
        error.__dict__["_fields"] = _decoded(headers.get(ERROR_FIELDS))
    except SerializationError as unreadable:
        error.add_note(f"The fields of this error, {code!r}, are not known: {unreadable}")
        return error
    cls = declared_class(code)
    return error if cls is None else _made(cls, error)


def _decoded(encoded: object) -> dict[str, Any]:
    if encoded is None:
        return {}
    if encoded == _UNSENDABLE:
        raise SerializationError("the worker could not send them; its log says why")
    if not isinstance(encoded, str | bytes) or len(encoded) > FIELDS_MAX:
        raise SerializationError(f"the header {ERROR_FIELDS} must be text or bytes, at most {FIELDS_MAX} of them")
    fields = _JSON.loads(encoded.encode("utf-8", "replace")) if isinstance(encoded, str) else _MSGPACK.loads(encoded)
    if not isinstance(fields, dict) or not all(isinstance(name, str) for name in fields):
        raise SerializationError(f"the header {ERROR_FIELDS} is not a map of names and values")
    return fields


def as_listed(error: RemoteExecutionError, raises: Iterable[type[ServiceError]]) -> RemoteExecutionError:
    """Return the error as the class of its code among those that a function lists; unchanged if there is none."""
    for cls in raises if error.code else ():
        if cls.code == error.code and type(error) is not cls:
            return _made(cls, error)
    return error


def _made(cls: type[ServiceError], error: RemoteExecutionError) -> RemoteExecutionError:
    """Return an error of ``cls`` with what ``error`` tells, or ``error`` with a note if the fields do not fit."""
    try:
        restored = _restored(cls, error.fields)
    except RabiBridgeError as misfit:
        error.add_note(f"It is not a {cls.__module__}.{cls.__qualname__}: {misfit}")
        return error
    # Made from its state, as pickle does: the constructor may be the program's own and take other arguments.
    made: ServiceError = cls.__new__(cls)
    others = {field.name for field in fields_of(error)} if isinstance(error, ServiceError) else {"code", "_fields"}
    made.__dict__.update({name: value for name, value in vars(error).items() if name not in others})
    for name, value in restored.items():
        setattr(made, name, value)
    return made


def _restored(cls: type[ServiceError], fields: dict[str, Any]) -> dict[str, Any]:
    """Return the value of each field of ``cls``. What a newer service sends besides is left out.

    Raises:
        SerializationError: a value does not fit, or one is missing that has no default.
        RegistrationError: an annotation cannot be used.
    """
    restorers = restorers_of(cls)
    restored = {}
    for field in fields_of(cls):
        if field.name in fields:
            restored[field.name] = restorers[field.name](fields[field.name])
        else:
            restored[field.name] = default_of(field)
    return restored


def misfit_of(error: ServiceError) -> RabiBridgeError | None:
    """Return why the fields of an error do not fit their annotations, so that no caller gets its class; else ``None``.

    It raises what the fields themselves raise.
    """
    try:
        _restored(type(error), error.fields)
    except RabiBridgeError as misfit:
        return misfit
    return None
