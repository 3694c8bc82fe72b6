"""The fields of declared errors: their annotations, resolved, and the values that these make of what was received."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from rabibridge_core._codec.annotations import result_adapter
from rabibridge_core.errors import SerializationError
from rabibridge_core.errors._declared import fields_of, hints_of, place_of_class

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rabibridge_core.errors import ServiceError

__all__ = ["default_of", "is_prepared", "restorers_of"]

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


def is_prepared(cls: type[ServiceError]) -> bool:
    """Tell whether the annotations of ``cls`` were used before."""
    return cls in _restorers


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
    return result_adapter(annotation, name=place_of_class(cls), what=f"field {name!r}") or _unchanged


def _unchanged(value: Any) -> Any:
    return value
