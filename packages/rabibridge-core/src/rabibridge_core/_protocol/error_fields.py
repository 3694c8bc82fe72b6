"""The fields of declared errors: their annotations, resolved, and the values that these make of what was received."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from rabibridge_core.errors import RegistrationError, SerializationError
from rabibridge_core.errors._declared import fields_of, hints_of, place_of_class

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rabibridge_core.errors import ServiceError

__all__ = ["default_of", "restorers_of"]

_EXACT = (str, int, float, bool, bytes, list, dict)

_restorers: WeakKeyDictionary[type[ServiceError], dict[str, Callable[[Any], Any]]] = WeakKeyDictionary()


def restorers_of(cls: type[ServiceError]) -> Mapping[str, Callable[[Any], Any]]:
    """Return, for each field of ``cls``, a function that returns a received value as its annotation says.

    It raises SerializationError for a value that does not fit.

    Raises:
        RegistrationError: an annotation names something that is not found, or is none that pydantic can use.
    """
    found = _restorers.get(cls)
    if found is None:
        hints = hints_of(cls)
        found = {field.name: _restorer(cls, field.name, hints[field.name]) for field in fields_of(cls)}
        _restorers[cls] = found
    return found


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a field.

    Raises:
        SerializationError: it has none.
    """
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        try:
            return field.default_factory()
        except Exception as error:
            raise SerializationError(f"the default of the field {field.name!r} cannot be made: {error!r}") from error
    raise SerializationError(f"the field {field.name!r} is missing")


def _restorer(cls: type[ServiceError], name: str, annotation: Any) -> Callable[[Any], Any]:
    if annotation is Any or annotation is object:
        return lambda value: value
    exact = annotation if annotation in _EXACT else None
    adapter: Any = None if exact else _adapter(cls, name, annotation)

    def restore(value: Any) -> Any:
        if type(value) is exact:
            return value
        nonlocal adapter
        if adapter is None:
            adapter = _adapter(cls, name, annotation)
        return _validated(adapter, name, value)

    return restore


def _adapter(cls: type[ServiceError], name: str, annotation: Any) -> Any:
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(annotation)
    except Exception as error:  # pydantic raises several errors, and asks the program's classes, too
        raise RegistrationError(
            f"{place_of_class(cls)}: the annotation of the field {name!r}, {annotation!r}, is none that pydantic can "
            f"use: {error}"
        ) from error


def _validated(adapter: Any, name: str, value: Any) -> Any:
    from pydantic import ValidationError

    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = "".join(f"[{step!r}]" for step in first["loc"])
        raise SerializationError(f"the field {name!r} does not fit: {name}{place}: {first['msg']}") from None
    except Exception as error:  # a validator of a class of the program may raise anything
        raise SerializationError(f"the field {name!r} cannot be made: {type(error).__name__}") from error
